// Drives the client through one scenario against the server whose address is given, and prints what it saw as JSON.
import { EventSource } from './eventsource.mjs';
import { fakeReact } from './react.mjs';
import { TempChatClient } from './assets/client.js';
import { createUseTempChat } from './assets/react.js';

const [, , name, baseUrl] = process.argv;
const sessionToken = 'secret-session-token';
const timing = { backoffBase: 2, backoffCap: 20, openTimeout: 2_000, pollPause: 1, replyGrace: 20 };

function start(options) {
  const client = new TempChatClient({ baseUrl, sessionToken, EventSource, WebSocket, timing, ...options });
  client.seen = [];
  for (const type of ['message', 'updated', 'deleted', 'state', 'ended', 'error', 'answering']) {
    client.addEventListener(type, ({ detail }) => client.seen.push(`${type} ${brief(detail)}`));
  }
  return client.connect();
}

function brief({ message, id, state, code, status, answering, previousId }) {
  if (message?.id) return previousId && previousId !== message.id ? `${previousId}->${message.id}` : message.id;
  return String(id ?? state ?? code ?? status ?? answering);
}

/** Resolves once the condition holds, looking again at each event of the client. */
function until(client, condition) {
  return new Promise((resolve) => {
    const look = () => condition() && resolve();
    for (const type of ['message', 'updated', 'deleted', 'state', 'session', 'ended', 'error', 'answering']) client.addEventListener(type, look);
    look();
  });
}

const ended = (client) => until(client, () => client.state === 'ended');
const live = (client) => until(client, () => client.state === 'live');
const has = (client, id) => until(client, () => client.messages.some((m) => m.id === id));
const rows = (client) => client.messages.map(({ id, role, content, pending, failed, error }) => ({ id, role, content, pending, failed, error }));
const result = (client, more) => ({ messages: rows(client), state: client.state, cursor: client.cursor, session: client.session, seen: client.seen, ...more });
const failure = (promise) => promise.then(() => null, ({ code, status, retryAfter, message }) => ({ code, status, retryAfter, message }));

const scenarios = {
  /** Receives until the session ends. */
  async receive({ transport = 'auto', ...options }) {
    const client = start({ transport, ...options });
    await ended(client);
    return result(client);
  },

  async stopped({ transport = 'auto', ...options }) {
    const client = start({ transport, ...options });
    await until(client, () => client.seen.some((entry) => entry.startsWith('error')) && client.state === 'offline');
    return result(client);
  },

  async send(options) {
    const client = start(options);
    await live(client);
    const answer = await client.send('Hello', { clientMessageId: 'c-1', metadata: { page: 'test' } });
    await has(client, 'row-2');
    client.close();
    return result(client, { answer });
  },

  async awaySend(options) {
    const client = start(options);
    await live(client);
    await until(client, () => client.state === 'offline');
    const answer = await client.send('Hello', { clientMessageId: 'c-1' });
    client.close();
    return result(client, { answer });
  },

  async closedSend(options) {
    let tried;
    const firstTry = new Promise((resolve) => (tried = resolve));
    const noting = (url, init) => fetch(url, init).finally(() => url.endsWith('handler') && setImmediate(tried));
    const client = start({ ...options, fetch: noting });
    await live(client);
    await until(client, () => client.state === 'offline');
    const failed = failure(client.send('Hello', { clientMessageId: 'c-1' }));
    await firstTry;
    client.close();
    return result(client, { failures: [await failed] });
  },

  async reply(options) {
    const client = start(options);
    await live(client);
    await client.send('Hello', { clientMessageId: 'c-1' });
    await has(client, 'local-reply-c-1');
    await client.send('Go on', { clientMessageId: 'c-2' });
    await ended(client);
    return result(client);
  },

  async refusedSend(options) {
    const client = start(options);
    await live(client);
    const first = await failure(client.send('Hello', { clientMessageId: 'c-1', metadata: { page: 'test' } }));
    const between = rows(client);
    await client.retry('c-1');
    const second = await failure(client.send('Again', { clientMessageId: 'c-2' }));
    client.discard('c-2');
    const empty = await failure(client.send(' \n'));
    const long = await failure(client.send('x'.repeat(4001)));
    client.close();
    return result(client, { between, failures: [first, second, empty, long] });
  },

  async agentFailed(options) {
    const client = start(options);
    await live(client);
    await failure(client.send('Hello', { clientMessageId: 'c-1' }));
    const failures = [await failure(client.retry('c-1'))];
    client.close();
    return result(client, { failures });
  },

  async storage(options) {
    const kept = new Map();
    const storage = { getItem: (k) => kept.get(k) ?? null, setItem: (k, v) => kept.set(k, v), removeItem: (k) => kept.delete(k) };
    const before = start({ storage, ...options });
    await has(before, 'row-1');
    before.close();
    const values = [...kept.values()];
    const after = start({ storage, sessionToken: undefined, history: 0, ...options });
    await ended(after);
    return result(after, { kept: values, left: kept.size });
  },

  async again() {
    const client = start({});
    await has(client, 'row-1');
    client.close();
    const closed = client.state;
    client.connect();
    await ended(client);
    return result(client, { closed });
  },

  async bad() {
    const code = (options) => {
      try {
        new TempChatClient({ baseUrl, EventSource, WebSocket, ...options });
        return null;
      } catch (error) {
        return error.code;
      }
    };
    return {
      codes: [code({}), code({ ticket: 't', transport: 'pigeon' }), code({ ticket: 't', transport: 'sse', EventSource: null })],
    };
  },

  async react() {
    const react = fakeReact();
    const useTempChat = createUseTempChat(react);
    const options = { baseUrl, sessionToken, EventSource, WebSocket, timing };
    const hook = react.mount(() => useTempChat(options));
    const views = [hook.current.state];
    await hook.until((chat) => chat.messages.length === 1 && chat.state === 'live');
    const live = { state: hook.current.state, session: hook.current.session, messages: hook.current.messages.map((m) => m.id) };
    const rejected = await failure(hook.current.send(' '));
    const error = hook.current.error.code;
    const same = hook.current.send;
    await hook.current.send('Hello', { clientMessageId: 'c-1' });
    const stable = hook.current.send === same;
    const cleared = hook.current.error;
    await hook.until((chat) => chat.ended);
    const { ended, state, messages } = hook.current;
    hook.unmount();
    const after = await failure(hook.current.send('too late'));
    return { views, live, rejected, error, stable, cleared, ended, state, count: messages.length, after };
  },
};

const input = JSON.parse(process.argv[4]) ?? {};
process.stdout.write(JSON.stringify(await scenarios[name](input)), () => process.exit(0));
