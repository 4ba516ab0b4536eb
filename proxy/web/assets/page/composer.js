import { MAX_MESSAGE_LENGTH } from './client.js';

const COUNT_FROM = MAX_MESSAGE_LENGTH - 400;

/** The text box: grows with its text, counts near the limit, submits with Enter. */
export class Composer {
  #text;
  #button;
  #count;
  #onSend;

  /** @param {HTMLFormElement} form @param {HTMLElement} count @param {(text: string) => void} onSend */
  constructor(form, count, onSend) {
    this.#text = form.querySelector('textarea');
    this.#button = form.querySelector('button');
    this.#count = count;
    this.#onSend = onSend;
    this.#text.addEventListener('input', () => this.#update());
    this.#text.addEventListener('keydown', (event) => this.#key(event));
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#submit();
    });
    // A tap on the button must not take the focus, or the virtual keyboard would close.
    this.#button.addEventListener('pointerdown', (event) => event.preventDefault());
    this.#update();
  }

  focus() {
    this.#text.focus({ preventScroll: true });
  }

  /** @param {string} name of the agent, for the placeholder */
  address(name) {
    this.#text.placeholder = name ? `Message ${name}` : 'Message';
  }

  #key(event) {
    // Enter also confirms a suggestion of an input method; 229 is what Safari reports then.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    this.#submit();
  }

  #submit() {
    if (this.#button.disabled) return;
    const text = this.#text.value.trim();
    this.#text.value = '';
    this.#update();
    this.#onSend(text);
    this.focus();
  }

  #update() {
    const length = this.#text.value.trim().length;
    const left = MAX_MESSAGE_LENGTH - length;
    this.#button.disabled = length === 0 || left < 0;
    this.#count.textContent = length < COUNT_FROM ? '' : left < 0 ? `${-left} too many` : `${left} left`;
    this.#count.classList.toggle('over', left < 0);
    this.#text.setAttribute('aria-invalid', String(left < 0));
    this.#text.style.height = 'auto';
    this.#text.style.height = `${this.#text.scrollHeight}px`;
  }
}
