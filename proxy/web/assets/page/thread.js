/** @typedef {import('./client.js').ChatMessage} ChatMessage */

const GROUP_GAP = 5 * 60_000; // ms; messages closer than this stand together
const NEAR_BOTTOM = 60; // px

const clock = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const fullDate = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'short' });
const thisYear = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' });
const otherYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'long', year: 'numeric' });
const LINK = /https?:\/\/[^\s<>"']*[^\s<>"'.,;:!?)\]}]/g;

/** The list of messages: keeps its elements in step with an array, and the newest in view. */
export class Thread {
  #list;
  #scroller;
  #actions;
  #items = new Map(); // key -> element
  #atBottom = true;
  #scrollTop = 0;
  #onScroll;

  /**
   * @param {HTMLElement} list
   * @param {HTMLElement} scroller
   * @param {{retry: (message: ChatMessage) => void, discard: (message: ChatMessage) => void,
   *   failure: (message: ChatMessage) => string, scrolled: (atBottom: boolean) => void}} actions
   */
  constructor(list, scroller, actions) {
    this.#list = list;
    this.#scroller = scroller;
    this.#actions = actions;
    this.#onScroll = actions.scrolled;
    scroller.addEventListener('scroll', () => this.#noteScroll(), { passive: true });
    const keep = new ResizeObserver(() => this.#atBottom && this.toBottom(false));
    keep.observe(scroller);
    keep.observe(list.closest('.column'));
  }

  get atBottom() {
    return this.#atBottom;
  }

  /** Shows the newest with the next rendering, wherever the visitor has scrolled to. */
  follow() {
    this.#setAtBottom(true);
  }

  /** @param {boolean} smooth */
  toBottom(smooth) {
    this.#setAtBottom(true);
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.#scroller.scrollTo({ top: this.#scroller.scrollHeight, behavior: smooth && !calm ? 'smooth' : 'instant' });
  }

  /** @param {readonly ChatMessage[]} messages @param {boolean} animate new ones may slide in */
  render(messages, animate) {
    const used = new Map();
    const wanted = [];
    messages.forEach((message, i) => {
      const day = dayOf(message);
      if (i === 0 || dayOf(messages[i - 1]) !== day) wanted.push(this.#use(used, `day-${day}`, () => separator(day)));
      const item = this.#use(used, message.client_message_id ?? message.id, () => newItem(animate));
      this.#fill(item, message, together(messages[i - 1], message), together(message, messages[i + 1]));
      wanted.push(item);
    });
    this.#items = used;
    this.#place(wanted);
    if (this.#atBottom) this.toBottom(false);
  }

  #use(used, key, create) {
    const element = this.#items.get(key) ?? create();
    used.set(key, element);
    return element;
  }

  #place(wanted) {
    let next = this.#list.firstElementChild;
    for (const element of wanted) {
      if (element === next) next = next.nextElementSibling;
      else this.#list.insertBefore(element, next);
    }
    while (next) {
      const gone = next;
      next = next.nextElementSibling;
      gone.remove();
    }
  }

  #fill(item, message, follows, followed) {
    const { role, pending, failed, kind } = message;
    item.classList.toggle('own', role === 'user');
    item.classList.toggle('agent', role !== 'user');
    item.classList.toggle('follows', follows);
    item.classList.toggle('pending', Boolean(pending));
    item.classList.toggle('failed', Boolean(failed));
    item.classList.toggle('trouble', kind === 'error');
    const [author, bubble, meta] = item.children;
    author.textContent = role === 'user' ? 'You: ' : 'Agent: ';
    if (item.shown !== message.content) writeText(bubble, message.content);
    item.shown = message.content;
    this.#fillMeta(meta, message, followed);
  }

  #fillMeta(meta, message, followed) {
    const text = message.failed ? this.#actions.failure(message) : message.pending ? 'Sending' : clock.format(timeOf(message));
    const key = `${text}|${followed}|${message.failed}`;
    if (meta.shown === key) return;
    meta.shown = key;
    meta.hidden = followed && !message.failed;
    const time = document.createElement(message.failed || message.pending ? 'span' : 'time');
    time.textContent = text;
    if (time.localName === 'time') {
      time.dateTime = message.timestamp;
      time.title = fullDate.format(timeOf(message));
    }
    const buttons = message.failed ? [['Retry', 'retry'], ['Delete', 'discard']] : [];
    meta.replaceChildren(time, ...buttons.map(([label, action]) => button(label, () => this.#actions[action](message))));
  }

  #noteScroll() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    const near = scrollHeight - scrollTop - clientHeight < NEAR_BOTTOM;
    // Only the way up leaves the newest: on the way down a smooth scroll passes places that are not the bottom yet.
    if (near || scrollTop < this.#scrollTop) this.#setAtBottom(near);
    this.#scrollTop = scrollTop;
  }

  #setAtBottom(atBottom) {
    if (atBottom === this.#atBottom) return;
    this.#atBottom = atBottom;
    this.#onScroll(atBottom);
  }
}

function newItem(animate) {
  const item = element('li', 'item');
  item.append(element('span', 'hidden-text'), element('div', 'bubble'), element('p', 'meta'));
  item.classList.toggle('enter', animate);
  return item;
}

function separator(day) {
  const item = element('li', 'day');
  item.append(element('span', ''));
  item.firstChild.textContent = dayName(new Date(`${day}T00:00`));
  return item;
}

function element(name, className) {
  const created = document.createElement(name);
  created.className = className;
  return created;
}

function button(label, onClick) {
  const created = element('button', 'quiet');
  created.type = 'button';
  created.textContent = label;
  created.addEventListener('click', onClick);
  return created;
}

/** Writes text nodes, and anchors for web addresses; never markup. */
function writeText(bubble, text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const anchor = document.createElement('a');
    anchor.href = match[0];
    anchor.textContent = match[0];
    anchor.target = '_blank';
    anchor.rel = 'noopener noreferrer nofollow';
    nodes.push(text.slice(end, match.index), anchor);
    end = match.index + match[0].length;
  }
  bubble.replaceChildren(...nodes, text.slice(end));
}

function together(a, b) {
  if (!a || !b || a.role !== b.role || a.failed || dayOf(a) !== dayOf(b)) return false;
  return Math.abs(timeOf(b) - timeOf(a)) < GROUP_GAP;
}

const timeOf = ({ timestamp }) => new Date(Date.parse(timestamp) || Date.now());

/** @returns {string} the local date, as YYYY-MM-DD */
function dayOf(message) {
  return localDay(timeOf(message));
}

function localDay(date) {
  const two = (n) => String(n).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
}

function dayName(date) {
  const now = new Date();
  if (localDay(date) === localDay(now)) return 'Today';
  if (localDay(date) === localDay(new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1))) return 'Yesterday';
  return (date.getFullYear() === now.getFullYear() ? thisYear : otherYear).format(date);
}
