import { TempChatClient } from './client.js';
import { Composer } from './composer.js';
import { describeEnd, describeFailure, forgetEnd, recallEnd, rememberEnd, takeCredential, tabStorage } from './session.js';
import { Thread } from './thread.js';

const HISTORY = 100;
const SETTLE = 800; // ms that a broken connection may take to come back before the page says so
const NOTICE_FOR = 6_000; // ms
const FEW_LEFT = 5; // messages of the session's allowance

const OFFLINE = 'You are offline. New messages appear when the connection is back.';
const UNREACHABLE = 'The chat cannot be reached right now. Trying again.';
const INCOMPLETE = { title: 'This chat link is incomplete', text: 'Open the link that you were given again.' };
const STATES = {
  connecting: 'Connecting',
  live: 'Online',
  catching_up: 'Syncing',
  polling: 'Online',
  offline: 'Offline',
  ended: 'Ended',
};

const find = (id) => document.getElementById(id);
const base = new URL(document.querySelector('meta[name="proxy-base"]').content, location.href).href;
const failures = new Map(); // client message id -> why it was not sent
const timers = {};
let client = null;
let connectedOnce = false;
let unread = 0;

const thread = new Thread(find('thread'), find('scroller'), {
  retry: (message) => deliver(() => client.retry(message.client_message_id), message.client_message_id),
  discard: (message) => client.discard(message.client_message_id),
  failure: (message) => failures.get(message.client_message_id) ?? 'Not sent',
  scrolled: showToBottom,
});

const composer = new Composer(find('composer'), find('count'), (text) => {
  const clientMessageId = newMessageId();
  deliver(() => client.send(text, { clientMessageId }), clientMessageId);
  thread.follow();
});

start();
addEventListener('hashchange', start);
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  unread = 0;
  showTitle();
});
find('to-bottom').addEventListener('click', () => thread.toBottom(true));
followKeyboard();

function start() {
  const credential = takeCredential();
  const storage = tabStorage();
  if (client && !credential.sessionToken && !credential.ticket) return;
  client?.close();
  open();
  try {
    client = new TempChatClient({ baseUrl: base, ...credential, storage, history: HISTORY });
  } catch {
    const ended = recallEnd(storage);
    const { title, text } = ended ? describeEnd(ended, false) : INCOMPLETE;
    showClosed(title, text);
    if (ended) showState('ended');
    else find('pill').hidden = true;
    return;
  }
  forgetEnd(storage);
  listen(client);
  client.connect();
  showAll();
  if (matchMedia('(hover: hover)').matches) composer.focus();
}

/** Clears what the chat before left behind. */
function open() {
  connectedOnce = false;
  unread = 0;
  failures.clear();
  find('pill').hidden = find('avatar').hidden = false;
  find('closed').hidden = true;
  find('foot').classList.remove('over');
  hideNotice();
}

function listen(chat) {
  const on = (type, listener) => chat.addEventListener(type, (event) => chat === client && listener(event.detail));
  on('message', ({ message }) => {
    if (document.hidden && message.role === 'assistant' && connectedOnce) unread++;
    if (!thread.atBottom && connectedOnce) find('to-bottom').classList.toggle('fresh', true);
    showTitle();
    showSoon();
  });
  for (const type of ['updated', 'deleted', 'answering']) on(type, showSoon);
  on('session', showSession);
  on('state', ({ state }) => {
    connectedOnce ||= state === 'live' || state === 'polling';
    showStateSoon(state);
    showSoon();
  });
  on('ended', (ended) => {
    rememberEnd(tabStorage(), ended);
    const { title, text } = describeEnd(ended, client.messages.length > 0);
    showClosed(title, text);
  });
  on('error', ({ fatal, status }) => {
    if (fatal && status !== 401 && status !== 410) showClosed('This chat is not available', 'The server refused the connection.');
  });
}

async function deliver(action, clientMessageId) {
  try {
    const { remaining_messages: left } = await action();
    failures.delete(clientMessageId);
    if (left <= FEW_LEFT) find('hint').textContent = `${left} ${left === 1 ? 'message' : 'messages'} left in this chat`;
  } catch (error) {
    failures.set(clientMessageId, describeFailure(error));
    const stored = !client.messages.some((m) => m.client_message_id === clientMessageId && m.failed);
    if (stored && client.state !== 'ended') showNotice('No answer could be given. Try to ask again.', NOTICE_FOR);
    showSoon();
  }
}

/** Draws once per frame however many events came; a hidden page draws without waiting for a frame. */
function showSoon() {
  if (timers.frame) return;
  timers.frame = document.hidden ? setTimeout(showAll, 50) : requestAnimationFrame(showAll);
}

function showAll() {
  timers.frame = 0;
  const { messages, answering, state } = client;
  thread.render(messages, connectedOnce && find('thread').childElementCount > 0);
  find('answering').hidden = !answering || state === 'offline' || messages.some(({ pending }) => pending);
  showBlank();
}

/** What stands in the middle while there are no messages: an invitation, or why there will be none. */
function showBlank() {
  const empty = find('thread').childElementCount === 0;
  const over = !find('closed').hidden;
  find('foot').hidden = over && empty;
  find('blank').hidden = !empty || !(over || connectedOnce);
  find('blank-avatar').hidden = over;
  find('blank-title').textContent = over ? find('closed-title').textContent : find('agent').textContent;
  find('blank-text').textContent = over ? find('closed-text').textContent : 'Send a message to start the conversation.';
}

function showSession({ agent_name: name = 'Assistant' }) {
  find('agent').textContent = name;
  find('avatar').textContent = find('blank-avatar').textContent = [...name.trim()][0]?.toUpperCase() ?? '';
  find('answering-text').textContent = `${name} is answering`;
  composer.address(name);
  showTitle();
  showSoon();
}

function showTitle() {
  const name = find('agent').textContent;
  document.title = unread ? `(${unread}) ${name}` : name;
}

/** Good states show at once; a loss only when it lasts. */
function showStateSoon(state) {
  clearTimeout(timers.state);
  const passing = connectedOnce && ['connecting', 'catching_up', 'offline'].includes(state) && navigator.onLine;
  if (passing) timers.state = setTimeout(showState, SETTLE, state);
  else showState(state);
}

function showState(state) {
  find('pill').dataset.state = state;
  find('pill-text').textContent = STATES[state];
  if (state === 'offline' && find('closed').hidden) showNotice(navigator.onLine ? UNREACHABLE : OFFLINE);
  else if (find('notice').dataset.kind === 'lasting') hideNotice();
}

/** @param {string} text @param {number} [duration] ms; without it the notice stays */
function showNotice(text, duration) {
  const notice = find('notice');
  if (duration && notice.dataset.kind === 'lasting' && !notice.hidden) return;
  clearTimeout(timers.notice);
  notice.textContent = text;
  notice.dataset.kind = duration ? 'passing' : 'lasting';
  notice.hidden = false;
  if (duration) timers.notice = setTimeout(hideNotice, duration);
}

function hideNotice() {
  find('notice').hidden = true;
}

function showToBottom(atBottom) {
  find('to-bottom').hidden = atBottom;
  if (atBottom) find('to-bottom').classList.remove('fresh');
}

function showClosed(title, text) {
  find('closed-title').textContent = title;
  find('closed-text').textContent = text;
  find('closed').hidden = false;
  find('avatar').hidden = !find('avatar').textContent;
  find('foot').classList.add('over');
  showBlank();
}

/** Where the keyboard covers the page instead of resizing it (iOS), the page takes the height that is left. */
function followKeyboard() {
  const view = window.visualViewport;
  if (!view) return;
  const fit = () => {
    const covered = window.innerHeight - view.height > 80 && view.scale === 1;
    document.documentElement.style.setProperty('--height', covered ? `${view.height}px` : '100dvh');
    if (covered) window.scrollTo(0, 0);
  };
  view.addEventListener('resize', fit);
}

function newMessageId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
