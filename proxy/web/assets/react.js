// React binding of client.js. The page hands in its own React, so that this module imports none:
//
//   import * as React from 'react';
//   import { createUseTempChat } from 'https://chat.example.com/react.js';
//   const useTempChat = createUseTempChat(React);

import { ChatError, TempChatClient } from './client.js';

/** @typedef {import('./client.js').ChatMessage} ChatMessage */
/** @typedef {import('./client.js').ChatOptions} ChatOptions */
/** @typedef {import('./client.js').ChatSession} ChatSession */
/** @typedef {import('./client.js').ChatState} ChatState */

/**
 * @typedef {object} TempChat
 * @property {readonly ChatMessage[]} messages in display order
 * @property {ChatState} state
 * @property {boolean} answering a sent message waits for the agent's reply
 * @property {ChatSession|null} session null before the first connection
 * @property {Record<string, any>|null} ended why the session ended, null while it lasts
 * @property {ChatError|null} error the last failure; cleared by the next connection and by the next send
 * @property {(text: string, options?: {clientMessageId?: string, metadata?: Record<string, unknown>}) =>
 *   Promise<Record<string, any>>} send rejects with a ChatError; the message stays in the list as failed
 * @property {(clientMessageId: string) => Promise<Record<string, any>>} retry
 * @property {(clientMessageId: string) => void} discard
 */

const EVENTS = ['message', 'updated', 'deleted', 'state', 'session', 'answering'];
const CONNECTED = new Set(['live', 'catching_up', 'polling']);
const EMPTY = Object.freeze({
  messages: Object.freeze([]),
  state: 'offline',
  answering: false,
  session: null,
  ended: null,
  error: null,
});

/**
 * @param {Pick<typeof import('react'), 'useCallback'|'useEffect'|'useRef'|'useState'>} React version 16.8 or later
 * @returns {(options: ChatOptions & {enabled?: boolean}) => TempChat} a hook that holds one client while it is
 *   mounted, has a credential (or storage to find one in) and `enabled` is not false. Another baseUrl, session
 *   token, ticket or transport starts another client; the other options are read when one starts.
 */
export function createUseTempChat({ useCallback, useEffect, useRef, useState }) {
  return function useTempChat(options) {
    const { baseUrl, sessionToken, ticket, transport, storage, enabled = true } = options;
    const active = enabled && Boolean(sessionToken || ticket || storage);
    const [view, setView] = useState(EMPTY);
    const latest = useRef(options);
    const client = useRef(null);
    latest.current = options;

    useEffect(() => {
      setView(EMPTY);
      return active ? mount(latest.current, client, setView) : undefined;
    }, [baseUrl, sessionToken, ticket, transport, active]);

    const call = useCallback(async (method, ...args) => {
      if (!client.current) throw new ChatError('not_connected', 'the chat is not connected');
      setView((old) => (old.error ? { ...old, error: null } : old));
      try {
        return await client.current[method](...args);
      } catch (error) {
        setView((old) => ({ ...old, error }));
        throw error;
      }
    }, []);
    const send = useCallback((text, more) => call('send', text, more), [call]);
    const retry = useCallback((id) => call('retry', id), [call]);
    const discard = useCallback((id) => client.current?.discard(id), []);
    return { ...view, send, retry, discard };
  };
}

/** Connects a client that reports to setView; the function it returns closes it. */
function mount(options, holder, setView) {
  let client;
  try {
    client = new TempChatClient(options);
  } catch (error) {
    setView({ ...EMPTY, error });
    return undefined;
  }
  const listening = new AbortController();
  const on = (type, change) => {
    const listener = ({ detail }) => setView((old) => ({ ...old, ...current(client), ...change?.(detail, old) }));
    client.addEventListener(type, listener, { signal: listening.signal });
  };
  for (const type of EVENTS) {
    on(type, (detail, old) => ({ error: type === 'state' && CONNECTED.has(detail.state) ? null : old.error }));
  }
  on('error', (error) => ({ error }));
  on('ended', (ended) => ({ ended }));
  holder.current = client;
  client.connect();
  return () => {
    listening.abort();
    client.close();
    if (holder.current === client) holder.current = null;
  };
}

function current({ messages, state, answering, session }) {
  return { messages, state, answering, session };
}
