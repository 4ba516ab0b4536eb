// Browser client of realtime-proxy: one dependency-free ES module, so that a page can import it from the
// proxy or keep a copy. It receives over server-sent events, a WebSocket or long polling, resumes by cursor
// on any of them, and sends by POST.

/**
 * @typedef {object} ChatMessage
 * @property {string} id row id; `local-...` while an own message is not stored yet
 * @property {'user'|'assistant'} role
 * @property {string} content plain text
 * @property {string} timestamp ISO 8601
 * @property {string} [conversation_id]
 * @property {string|null} [agentId]
 * @property {null} [userId]
 * @property {string} [kind] `error` marks a failure that the agent reported
 * @property {string} [client_message_id] id given by the sender, on own messages
 * @property {boolean} [recovered] read back after a gap
 * @property {boolean} [replayed] sent again because the cursor could not tell
 * @property {boolean} [unstored] exists only in this page, no reload brings it back
 * @property {boolean} [pending] own message on its way
 * @property {boolean} [failed] own message that was given up; see `retry` and `discard`
 * @property {string} [error] code of the failure, on failed messages
 */

/**
 * @typedef {object} ChatSession
 * @property {string} session_id
 * @property {string} conversation_id
 * @property {string} [agent_name]
 * @property {number} [max_messages]
 * @property {number} [current_messages] the visitor's own; absent where they have not been counted
 * @property {boolean} [resumed]
 */

/** @typedef {'connecting'|'live'|'catching_up'|'polling'|'offline'|'ended'} ChatState */

/**
 * @typedef {object} ChatOptions
 * @property {string} [baseUrl] where the proxy answers; the page's origin by default
 * @property {string} [sessionToken] travels in bodies, frames and headers only, never in a URL
 * @property {string} [ticket] short-lived stand-in for the token
 * @property {'auto'|'sse'|'websocket'|'poll'} [transport] `auto` tries them in that order
 * @property {number} [history] messages to read on the first connect, 50 by default
 * @property {string} [cursor] position to resume from
 * @property {Storage|boolean} [storage] keeps ticket and cursor (never the token) over a reload; true means
 *   sessionStorage. The kept cursor is used when `history` is 0, otherwise the history is read again.
 * @property {typeof globalThis.fetch} [fetch]
 * @property {any} [EventSource]
 * @property {any} [WebSocket]
 * @property {Partial<typeof TIMING>} [timing] milliseconds; for tests and unusual networks
 */

export const MAX_MESSAGE_LENGTH = 4000; // UTF-16 units, the limit of the message handler

const TIMING = {
  backoffBase: 500,
  backoffCap: 30_000,
  openTimeout: 10_000, // until `connected`; also uncovers middleboxes that buffer a stream
  stableAfter: 10_000, // a connection that lived this long clears the back-off
  requestTimeout: 15_000,
  sendTimeout: 160_000, // the answer comes with the agent's reply
  sendHold: 60_000, // how long the next try of a send waits for a connection that is away
  pollWait: 25_000,
  pollPause: 2_000, // when a poll comes back at once with nothing
  pingEvery: 25_000,
  silence: 60_000, // a WebSocket without any frame for this long is dead
  hiddenFor: 60_000, // a page that was hidden longer reconnects when it is shown
  replyGrace: 3_000, // how long a reply in a send's answer may take to come over the stream
};

const SEND_TRIES = 5;
const POLL_LIMIT = 100;
const LADDER = ['sse', 'websocket', 'poll'];
const OPEN_FAILURES = 2; // per transport, while the server answers otherwise
const FINAL_CLOSE = new Map([
  [4400, 'bad_message'],
  [4401, 'invalid_session'],
  [4408, 'authentication_timeout'],
  [4410, 'session_ended'],
  [1009, 'too_big'],
]);
const EVENTS = ['message_updated', 'message_deleted', 'session_ended', 'connection'];

/** A failure with a stable `code`. Its text holds no URL and no credential. */
export class ChatError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{status?: number, retryAfter?: number, messageId?: string, fatal?: boolean}} [more] retryAfter in ms
   */
  constructor(code, message, { status = 0, retryAfter, messageId, fatal = false } = {}) {
    super(message);
    this.name = 'ChatError';
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
    this.messageId = messageId;
    this.fatal = fatal;
  }
}

/** Messages in display order (timestamp, id), one per id. */
class MessageList {
  #entries = [];
  #byId = new Map();
  #byClientId = new Map();
  #view = Object.freeze([]);

  /** @returns {readonly ChatMessage[]} the same array until something changes */
  get view() {
    this.#view ??= Object.freeze(this.#entries.map((entry) => entry.message));
    return this.#view;
  }

  /** @param {string} id */
  get(id) {
    return this.#byId.get(id)?.message;
  }

  /** @param {string} clientMessageId */
  own(clientMessageId) {
    return this.#byClientId.get(clientMessageId)?.message;
  }

  /** @param {ChatMessage} message whether it is older than all that is shown */
  precedes(message) {
    return this.#entries.length > 0 && compareEntries(entryOf(message), this.#entries[0]) < 0;
  }

  /**
   * Adds or replaces; a row takes the place of the local message it stands for.
   * @param {ChatMessage} message
   * @returns {{added: boolean, previousId: string|undefined}|undefined} undefined when nothing changed
   */
  put(message) {
    const old = this.#byId.get(message.id) ?? this.#standIn(message);
    if (old && sameMessage(old.message, message)) return undefined;
    if (old) this.#unlink(old);
    const entry = entryOf(Object.freeze({ ...message }));
    let at = this.#entries.length;
    while (at > 0 && compareEntries(this.#entries[at - 1], entry) > 0) at--;
    this.#entries.splice(at, 0, entry);
    this.#byId.set(message.id, entry);
    if (message.client_message_id) this.#byClientId.set(message.client_message_id, entry);
    this.#view = null;
    return { added: !old, previousId: old?.message.id };
  }

  /** @param {string} id */
  remove(id) {
    const entry = this.#byId.get(id);
    if (entry) this.#unlink(entry);
    return entry?.message;
  }

  #standIn(message) {
    const own = message.client_message_id && this.#byClientId.get(message.client_message_id);
    if (own) return own;
    if (message.role !== 'assistant' || isLocal(message)) return undefined;
    return this.#entries.find(({ message: m }) => m.unstored && isLocal(m) && m.content === message.content);
  }

  #unlink(entry) {
    this.#entries.splice(this.#entries.indexOf(entry), 1);
    this.#byId.delete(entry.message.id);
    if (entry.message.client_message_id) this.#byClientId.delete(entry.message.client_message_id);
    this.#view = null;
  }
}

/**
 * A visitor's connection to one temporary chat. Events carry their facts in `detail`:
 * `message` and `updated` {message, previousId?}, `deleted` {id}, `state` {state}, `session` (ChatSession),
 * `answering` {answering}, `ended` {status, end_reason, ...}, `error` (ChatError).
 */
export class TempChatClient extends EventTarget {
  #options;
  #timing;
  #base;
  #token;
  #ticket;
  #ticketUntil = Infinity;
  #cursor;
  #storage;
  #list = new MessageList();
  #state = 'offline';
  #session = null;
  #ended = null;
  #run = null; // AbortController of connect() .. close()
  #attempt = null; // AbortController of one connection and the pause after it
  #ladder;
  #unanswered = new Set();
  #metadata = new Map(); // by client message id, until sent or discarded
  #hiddenAt = 0;

  /** @param {ChatOptions} options */
  constructor(options = {}) {
    super();
    this.#options = { transport: 'auto', history: 50, ...browser(), ...defined(options) };
    this.#timing = { ...TIMING, ...options.timing };
    this.#base = baseOf(options.baseUrl);
    this.#storage = options.storage === true ? attempt(() => globalThis.sessionStorage) : options.storage || null;
    this.#token = options.sessionToken || '';
    this.#ticket = options.ticket || '';
    this.#cursor = options.cursor || '';
    if (!this.#token && !this.#ticket) this.#restore();
    if (!this.#token && !this.#ticket) throw new ChatError('no_credential', 'a session token or a ticket is needed');
    this.#ladder = new Ladder(this.#options);
  }

  /** @returns {readonly ChatMessage[]} in display order; a new array after each change, never changed in place */
  get messages() {
    return this.#list.view;
  }

  /** @returns {ChatState} */
  get state() {
    return this.#state;
  }

  /** @returns {ChatSession|null} null before the first connection */
  get session() {
    return this.#session;
  }

  /** Position behind the last event received; opaque. */
  get cursor() {
    return this.#cursor;
  }

  /** True while a sent message waits for the agent's reply. */
  get answering() {
    return this.#unanswered.size > 0;
  }

  /** Starts, and keeps a connection until `close` or the end of the session. Does nothing when started. */
  connect() {
    if (this.#run || this.#ended) return this;
    this.#run = new AbortController();
    this.#setState('connecting');
    this.#watchPage(this.#run.signal);
    this.#loop(this.#run.signal);
    return this;
  }

  /** Stops receiving; `connect` continues behind the last event. A send under way is not cut. */
  close() {
    this.#run?.abort();
    this.#run = null;
    if (!this.#ended) this.#setState('offline');
  }

  /**
   * Shows the message at once and sends it. Tries again with the same id when the network or the server
   * is away, which cannot store it twice.
   * @param {string} text
   * @param {{clientMessageId?: string, metadata?: Record<string, unknown>}} [options]
   * @returns {Promise<Record<string, any>>} the handler's answer
   */
  async send(text, { clientMessageId = newId(), metadata } = {}) {
    const content = String(text).trim();
    if (!content) throw new ChatError('empty_message', 'the message is empty');
    if (content.length > MAX_MESSAGE_LENGTH) throw new ChatError('message_too_long', 'the message is too long');
    if (this.#ended) throw new ChatError('session_ended', 'the session has ended');
    const draft = { role: 'user', content, timestamp: this.#nextTimestamp(), client_message_id: clientMessageId };
    this.#show({ id: localId(clientMessageId), ...draft, pending: true });
    this.#metadata.set(clientMessageId, metadata);
    return this.#deliver(clientMessageId, content);
  }

  /** Sends a failed message again, under the id it had. @param {string} clientMessageId */
  async retry(clientMessageId) {
    const message = this.#list.own(clientMessageId);
    if (!message?.failed) throw new ChatError('not_failed', 'there is no failed message of that id');
    if (this.#ended) throw new ChatError('session_ended', 'the session has ended');
    const { failed, error, ...rest } = message;
    this.#show({ ...rest, timestamp: this.#nextTimestamp(), pending: true });
    return this.#deliver(clientMessageId, message.content);
  }

  /** Forgets a failed message. @param {string} clientMessageId */
  discard(clientMessageId) {
    const message = this.#list.own(clientMessageId);
    if (!message?.failed) return;
    this.#metadata.delete(clientMessageId);
    this.#forget(message.id);
  }

  async #loop(signal) {
    for (let failures = 0; !signal.aborted; ) {
      this.#attempt = new AbortController();
      const stop = () => this.#attempt.abort();
      signal.addEventListener('abort', stop);
      const begun = Date.now();
      const end = await this.#connection(this.#ladder.current, this.#attempt.signal);
      if (!signal.aborted && !this.#finish(end)) {
        const stable = end.opened && Date.now() - begun >= this.#timing.stableAfter;
        if (stable) failures = 0;
        this.#ladder.note(end);
        // What the server asks for is the least; connections that do not last back off as well.
        const wait = Math.max(end.after ?? 0, stable && end.after !== undefined ? 0 : this.#backoff(failures));
        failures++;
        this.#setState(end.unreachable || isOffline() ? 'offline' : 'connecting');
        if (await pause(wait, this.#attempt.signal)) failures = 0;
      }
      signal.removeEventListener('abort', stop);
    }
  }

  /**
   * Opens one connection and lives it to its end.
   * @returns {Promise<End>}
   * @typedef {{opened: boolean, after?: number, error?: ChatError, reachable?: boolean, unreachable?: boolean}} End
   */
  async #connection(transport, signal) {
    try {
      const open = { sse: () => this.#events(signal), websocket: () => this.#socket(signal), poll: () => this.#poll(signal) };
      const end = await open[transport]();
      if (end.opened || end.error || end.after !== undefined || signal.aborted) return end;
      // Neither EventSource nor WebSocket tells why it did not open; a plain request does.
      await this.#pull(0, signal);
      if (this.#token) this.#ticket = '';
      return { opened: false, reachable: true };
    } catch (error) {
      if (signal.aborted) return { opened: false, after: 0 };
      if (error instanceof ChatError) return endOf(error, false);
      // The text of what a browser throws may hold the URL.
      this.#emit('error', new ChatError('transport_failed', `${transport} could not be started: ${error?.name}`));
      return { opened: false, reachable: true };
    }
  }

  /** Ends for good when waiting cannot cure it. @param {End} end */
  #finish(end) {
    if (this.#ended) return true;
    if (!end.error) return false;
    this.#emit('error', end.error);
    if (end.error.status === 401 || end.error.status === 410) {
      this.#end({ status: end.error.status === 410 ? 'ended' : 'invalid', end_reason: end.error.code });
      return true;
    }
    if (end.error.fatal) this.close();
    return end.error.fatal;
  }

  #backoff(failures) {
    const { backoffBase, backoffCap } = this.#timing;
    return Math.random() * Math.min(backoffCap, backoffBase * 2 ** failures);
  }

  /** Reconnects at once. @param {boolean} fresh also forget what failed on the former network */
  #reopen(fresh) {
    if (fresh) this.#ladder = new Ladder(this.#options);
    this.#attempt?.abort();
  }

  #watchPage(signal) {
    const { window, document } = globalThis;
    window?.addEventListener('online', () => this.#reopen(true), { signal });
    window?.addEventListener('offline', () => this.#setState('offline'), { signal });
    window?.addEventListener('pageshow', (event) => event.persisted && this.#reopen(false), { signal });
    document?.addEventListener('visibilitychange', () => {
      if (document.hidden) this.#hiddenAt = Date.now();
      else if (this.#hiddenAt && Date.now() - this.#hiddenAt > this.#timing.hiddenFor) this.#reopen(false);
    }, { signal });
  }

  /** @returns {Promise<End>} */
  async #events(signal) {
    const { EventSource } = this.#options;
    const ticket = await this.#urlTicket(signal);
    const query = { ticket, cursor: this.#cursor, history: this.#options.history, format: 'message' };
    if (signal.aborted) return { opened: false };
    return new Promise((resolve) => {
      const source = new EventSource(this.#url('temporary-chat-events', query));
      let opened = false;
      let up = false;
      let timer = 0;
      const finish = (end = {}) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', cut);
        source.close();
        resolve({ opened, ...end });
      };
      const cut = () => finish({ after: 0 });
      const expectOpen = () => (timer = setTimeout(finish, this.#timing.openTimeout));
      const receive = (type) => (event) => {
        const data = parse(event.data);
        if (data) this.#receive(type, data, event.lastEventId);
        if (this.#ended) finish();
      };
      signal.addEventListener('abort', cut);
      expectOpen();
      source.addEventListener('connected', (event) => {
        opened = up = true;
        clearTimeout(timer);
        receive('connected')(event);
      });
      source.addEventListener('message', receive('message'));
      for (const type of EVENTS) source.addEventListener(type, receive(type));
      source.addEventListener('reconnect', (event) => finish({ after: Number(parse(event.data)?.retry_ms) || 0 }));
      source.addEventListener('error', (event) => {
        if (typeof event.data === 'string') return finish(this.#told(parse(event.data)));
        // The browser retries by itself with Last-Event-ID; the second failure in a row is ours to handle.
        if (!up || source.readyState === 2) return finish();
        up = false;
        this.#setState('connecting');
        expectOpen();
      });
    });
  }

  /** @returns {Promise<End>} */
  #socket(signal) {
    const { WebSocket } = this.#options;
    return new Promise((resolve) => {
      const socket = new WebSocket(this.#url('temporary-chat-websocket').replace(/^http/, 'ws'));
      const { openTimeout, pingEvery, silence } = this.#timing;
      let opened = false;
      let pings = 0;
      let told = {};
      let timer = setTimeout(() => finish(), openTimeout);
      const finish = (end = {}) => {
        clearTimeout(timer);
        clearInterval(pings);
        signal.removeEventListener('abort', cut);
        socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
        socket.close();
        resolve({ opened, ...end });
      };
      const cut = () => finish({ after: 0 });
      signal.addEventListener('abort', cut);
      socket.onopen = () => {
        const credential = this.#token ? { sessionToken: this.#token } : { ticket: this.#ticket };
        const cursor = this.#cursor || undefined;
        socket.send(JSON.stringify({ type: 'authenticate', ...credential, cursor, history: this.#options.history }));
      };
      socket.onmessage = (event) => {
        const frame = parse(event.data);
        if (!frame) return;
        if (opened) {
          clearTimeout(timer);
          timer = setTimeout(finish, silence);
        }
        if (frame.type === 'authenticated') {
          opened = true;
          clearTimeout(timer);
          timer = setTimeout(finish, silence);
          pings = setInterval(() => socket.send(JSON.stringify({ type: 'ping', t: Date.now() })), pingEvery);
          this.#receive('connected', frame.data ?? {}, frame.cursor);
        } else if (frame.type === 'error') {
          told = this.#told(frame.data ?? frame);
        } else if (frame.type === 'reconnect') {
          finish({ after: Number((frame.data ?? frame).retry_ms) || 0 });
        } else {
          this.#receive(frame.type, frame.message ?? frame.data ?? frame, frame.cursor);
        }
        if (this.#ended) finish();
      };
      socket.onerror = () => {}; // the close event follows and says as much
      socket.onclose = (event) => finish(closing(event.code, told.after, opened));
    });
  }

  /** @returns {Promise<End>} */
  async #poll(signal) {
    let opened = false;
    try {
      while (!signal.aborted && !this.#ended) {
        const begun = Date.now();
        const body = await this.#pull(opened ? this.#timing.pollWait : 0, signal);
        opened = true;
        if (!this.#ended) this.#setState('polling');
        const idle = !body.more && !body.messages?.length && Date.now() - begun < 1000;
        if (idle && this.#timing.pollWait) await pause(this.#timing.pollPause, signal);
      }
      return { opened, after: 0 };
    } catch (error) {
      if (signal.aborted) return { opened, after: 0 };
      if (error instanceof ChatError) return endOf(error, opened);
      throw error;
    }
  }

  /** Reads what came since the cursor. @param {number} wait ms that the server may hold the request */
  async #pull(wait, signal) {
    const { history } = this.#options;
    const first = !this.#cursor;
    const query = { cursor: this.#cursor, limit: first ? Math.max(1, history) : POLL_LIMIT, wait: wait / 1000 };
    const timeout = wait + this.#timing.requestTimeout;
    const body = await this.#request('GET', this.#url('temporary-chat-messages', query), { timeout, signal });
    if (body.session) this.#adopt({ resumed: body.resumed, ...body.session });
    if (!first || history > 0) for (const message of body.messages ?? []) this.#receive('message', message.message ?? message);
    for (const update of body.updates ?? []) this.#receive(update.type, update.message ?? update.data ?? update);
    this.#advance(body.cursor);
    if (body.session?.status && body.session.status !== 'active') this.#end(body.session);
    return body;
  }

  #receive(type, data, cursor) {
    switch (type) {
      case 'connected':
        this.#adopt(data);
        this.#setState('live');
        break;
      case 'message':
        if (data.id) this.#show(data);
        break;
      case 'message_updated':
        if (data.id && (this.#list.get(data.id) || !this.#list.precedes(data))) this.#show(data);
        break;
      case 'message_deleted':
        this.#forget(data.id);
        break;
      case 'connection':
        if (['live', 'catching_up', 'polling'].includes(data.state)) this.#setState(data.state);
        break;
      case 'session_ended':
        this.#end(data);
        break;
    }
    this.#advance(cursor);
  }

  #adopt({ ticket, ...session }) {
    if (ticket) {
      this.#ticket = ticket;
      this.#ticketUntil = Infinity;
    }
    this.#persist();
    if (this.#session && Object.keys(session).every((key) => session[key] === this.#session[key])) return;
    this.#session = Object.freeze({ ...this.#session, ...session });
    this.#emit('session', this.#session);
  }

  #advance(cursor) {
    if (!cursor || cursor === this.#cursor || this.#ended) return;
    this.#cursor = cursor;
    this.#persist();
  }

  #show(message) {
    const change = this.#list.put(message);
    if (!change) return;
    if (change.added && message.role === 'assistant' && !message.replayed) this.#answered();
    this.#emit(change.added ? 'message' : 'updated', { message: this.#list.get(message.id), previousId: change.previousId });
  }

  #forget(id) {
    if (this.#list.remove(id)) this.#emit('deleted', { id });
  }

  #told(error) {
    const { code = 'server_error', message = 'the server reported an error', retry_after } = error ?? {};
    const after = retry_after > 0 ? retry_after * 1000 : undefined;
    this.#emit('error', new ChatError(code, message, { retryAfter: after }));
    return { after: after ?? this.#backoff(2) };
  }

  #end(facts) {
    if (this.#ended) return;
    this.#ended = Object.freeze({ ...facts });
    this.#run?.abort();
    this.#run = null;
    this.#unpersist();
    this.#answered();
    this.#setState('ended');
    this.#emit('ended', this.#ended);
  }

  #setState(state) {
    if (state === this.#state || (this.#ended && state !== 'ended')) return;
    this.#state = state;
    this.#emit('state', { state });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  async #deliver(clientMessageId, message) {
    const metadata = this.#metadata.get(clientMessageId);
    const known = new Set(this.#list.view.map(({ id }) => id));
    this.#unanswered.add(clientMessageId);
    this.#emit('answering', { answering: true });
    try {
      const answer = await this.#post({ message, clientMessageId, metadata });
      this.#confirm(clientMessageId, answer.message_id);
      this.#acceptReply(clientMessageId, answer, known);
      this.#metadata.delete(clientMessageId);
      return answer;
    } catch (error) {
      if (error.messageId) this.#confirm(clientMessageId, error.messageId);
      const own = this.#list.own(clientMessageId);
      if (own?.pending) this.#show({ ...own, pending: undefined, failed: true, error: error.code });
      if (error.status === 410) this.#end({ status: 'ended', end_reason: error.code });
      else if (error.status === 401) this.#reopen(false); // the connection finds out whether the session is over
      throw error;
    } finally {
      if (this.#unanswered.delete(clientMessageId)) this.#emit('answering', { answering: this.answering });
    }
  }

  async #post(body) {
    const url = this.#url('temporary-chat-handler');
    for (let tries = 1; ; tries++) {
      const credential = this.#token ? { session_token: this.#token } : { ticket: this.#ticket };
      try {
        return await this.#request('POST', url, { body: { ...credential, ...body }, timeout: this.#timing.sendTimeout });
      } catch (error) {
        const passing = error.code === 'network' || [408, 425, 502, 503, 504].includes(error.status);
        if (!passing || error.messageId || tries === SEND_TRIES || this.#ended) throw error;
        if (this.#away) await this.#comeback(this.#timing.sendHold);
        else await pause(Math.min(error.retryAfter ?? this.#backoff(tries), this.#timing.backoffCap));
      }
    }
  }

  get #away() {
    return this.#run !== null && ['connecting', 'offline'].includes(this.#state);
  }

  /** Waits for a connection that is away, or until there will be none. @param {number} ms at the longest */
  async #comeback(ms) {
    const back = new AbortController();
    this.addEventListener('state', () => this.#away || back.abort(), { signal: back.signal });
    this.#run.signal.addEventListener('abort', () => back.abort(), { signal: back.signal });
    await pause(ms, back.signal);
    back.abort();
  }

  #confirm(clientMessageId, id) {
    const own = this.#list.own(clientMessageId);
    if (!own?.pending || !id) return;
    if (this.#list.get(id)) this.#forget(own.id);
    else this.#show({ ...own, id, pending: undefined });
  }

  /** Shows the reply of a send's answer unless the stream brings it. */
  #acceptReply(clientMessageId, { response, assistant_message_id: id, conversation_id }, known) {
    if (typeof response !== 'string' || !response.trim()) return;
    const reply = { role: 'assistant', content: response, timestamp: this.#nextTimestamp(), conversation_id };
    if (id) {
      if (!this.#list.get(id)) this.#show({ id, ...reply });
      return;
    }
    const came = (m) => m.role === 'assistant' && m.content === response && !known.has(m.id);
    setTimeout(() => {
      if (!this.#list.view.some(came)) this.#show({ id: localId(`reply-${clientMessageId}`), ...reply, unstored: true });
    }, this.#timing.replyGrace);
  }

  #answered() {
    if (!this.#unanswered.size) return;
    this.#unanswered.clear();
    this.#emit('answering', { answering: false });
  }

  /** Now, but behind all that is shown, whatever this machine's clock says. */
  #nextTimestamp() {
    const last = this.#list.view.at(-1);
    const after = last ? Date.parse(last.timestamp) + 1 : 0;
    return new Date(Math.max(Date.now(), after || 0)).toISOString();
  }

  async #urlTicket(signal) {
    if (this.#ticket && (Date.now() < this.#ticketUntil || !this.#token)) return this.#ticket;
    const options = { body: { session_token: this.#token }, timeout: this.#timing.requestTimeout, signal };
    const body = await this.#request('POST', this.#url('temporary-chat-ticket'), options);
    this.#ticket = body.ticket;
    this.#ticketUntil = Date.now() + (body.expires_in ?? 60) * 900; // nine tenths of its life
    return this.#ticket;
  }

  #url(path, query = {}) {
    const pairs = Object.entries(query).filter(([, value]) => value !== '' && value !== undefined);
    return this.#base + path + (pairs.length ? `?${new URLSearchParams(pairs)}` : '');
  }

  async #request(method, url, { body, timeout, signal }) {
    const { fetch } = this.#options;
    const control = new AbortController();
    const cut = () => control.abort();
    const timer = setTimeout(cut, timeout);
    signal?.addEventListener('abort', cut);
    const headers = body ? { 'Content-Type': 'application/json' } : { Authorization: `Bearer ${this.#token || this.#ticket}` };
    const privacy = { cache: 'no-store', credentials: 'omit', referrerPolicy: 'no-referrer' };
    try {
      const init = { method, headers, body: body && JSON.stringify(body), signal: control.signal, ...privacy };
      const response = await fetch(url, init);
      const answer = parse(await response.text()) ?? {};
      if (!response.ok || answer.success === false) throw refusal(response, answer);
      return answer;
    } catch (error) {
      if (error instanceof ChatError) throw error;
      throw new ChatError('network', 'the server could not be reached');
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', cut);
    }
  }

  #restore() {
    const kept = parse(attempt(() => this.#storage?.getItem(this.#storageKey)));
    if (!kept?.ticket) return;
    this.#ticket = kept.ticket;
    if (this.#options.history === 0) this.#cursor ||= kept.cursor || '';
  }

  #persist() {
    const kept = JSON.stringify({ ticket: this.#ticket, cursor: this.#cursor });
    if (this.#ticket) attempt(() => this.#storage?.setItem(this.#storageKey, kept));
  }

  #unpersist() {
    attempt(() => this.#storage?.removeItem(this.#storageKey));
  }

  get #storageKey() {
    return `temp-chat:${this.#base}`;
  }
}

/** Creates a client and connects it. @param {ChatOptions} options */
export function connect(options) {
  return new TempChatClient(options).connect();
}

/** The transports in order of preference, stepping down where one does not open. */
class Ladder {
  #steps;
  #failures = 0;

  constructor({ transport, EventSource, WebSocket }) {
    const available = { sse: Boolean(EventSource), websocket: Boolean(WebSocket), poll: true };
    this.#steps = LADDER.filter((step) => available[step] && (transport === 'auto' || transport === step));
    if (!this.#steps.length) throw new ChatError('bad_transport', 'the transport is unknown or not available here');
  }

  get current() {
    return this.#steps[0];
  }

  /** @param {End} end only a failure while the server answers otherwise speaks against the transport */
  note(end) {
    if (end.opened) this.#failures = 0;
    else if (end.reachable && ++this.#failures >= OPEN_FAILURES && this.#steps.length > 1) {
      this.#steps.shift();
      this.#failures = 0;
    }
  }
}

function browser() {
  const { EventSource, WebSocket } = globalThis;
  return { EventSource, WebSocket, fetch: (...args) => globalThis.fetch(...args) };
}

const defined = (options) => Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));

function baseOf(baseUrl) {
  const url = new URL(baseUrl || '/', globalThis.location?.href);
  url.search = url.hash = url.username = url.password = '';
  return url.href.endsWith('/') ? url.href : `${url.href}/`;
}

function refusal(response, body) {
  const seconds = Number(response.headers.get('Retry-After') ?? body.retry_after);
  const { status } = response;
  const code = typeof body.code === 'string' ? body.code : `http_${status}`;
  const text = [body.message, body.error].find((value) => typeof value === 'string') ?? `the server answered ${status}`;
  const passing = status >= 500 || status < 400 || [404, 408, 425, 429].includes(status);
  const retryAfter = seconds > 0 ? Math.min(seconds, 120) * 1000 : undefined;
  return new ChatError(code, text, { status, retryAfter, messageId: body.message_id, fatal: !passing });
}

/** @returns {End} */
function endOf(error, opened) {
  const final = error.fatal || error.status === 401 || error.status === 410;
  const unreachable = error.code === 'network';
  return { opened, unreachable, after: error.retryAfter, error: final ? error : undefined };
}

/** @returns {End} how a WebSocket's close code ends its connection */
function closing(code, after, opened) {
  const reason = FINAL_CLOSE.get(code);
  if (reason) {
    const status = { 4401: 401, 4410: 410 }[code] ?? 400;
    return { error: new ChatError(reason, 'the server closed the connection for good', { status, fatal: true }) };
  }
  const asked = code === 4429 || code === 4503 || code === 1012 || code === 1013;
  // A server that said why it closes has been reached: the transport works.
  return asked && !opened ? { opened: true, after } : { after };
}

function entryOf(message) {
  const ms = Date.parse(message.timestamp) || 0;
  const fraction = /\.(\d+)/.exec(message.timestamp ?? '')?.[1] ?? '';
  return { message, ms, micros: Number(fraction.padEnd(6, '0').slice(3, 6)) };
}

function compareEntries(a, b) {
  return a.ms - b.ms || a.micros - b.micros || compare(a.message.id, b.message.id);
}

const compare = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

/** Marks that tell how a message came do not make it another one. */
function sameMessage(a, b) {
  return ['id', 'content', 'timestamp', 'kind', 'pending', 'failed', 'error'].every((key) => a[key] === b[key]);
}

const localId = (id) => `local-${id}`;
const isLocal = (message) => message.id.startsWith('local-');
const isOffline = () => globalThis.navigator?.onLine === false;

function parse(text) {
  const value = attempt(() => JSON.parse(text));
  return value !== null && typeof value === 'object' ? value : undefined;
}

function attempt(action) {
  try {
    return action();
  } catch {
    return undefined;
  }
}

/** @returns {Promise<boolean>} true when the signal cut the pause short */
function pause(ms, signal) {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve(true);
    const done = (cut) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
      resolve(cut);
    };
    const onAbort = () => done(true);
    const timer = setTimeout(() => done(false), ms);
    signal?.addEventListener('abort', onAbort);
  });
}

function newId() {
  if (globalThis.crypto?.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID exists in secure contexts only
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
