// Where the page's credential comes from: the fragment of the link at first, this tab's storage after a reload.

/**
 * Takes the credential out of the address bar, so that it is neither copied along nor kept in the history.
 * @returns {{sessionToken?: string, ticket?: string}} empty when the address has none
 */
export function takeCredential() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const sessionToken = fragment.get('token') || fragment.get('session_token') || undefined;
  const ticket = fragment.get('ticket') || undefined;
  if (location.hash || location.search) history.replaceState(null, '', location.pathname);
  return { sessionToken, ticket };
}

/** @returns {Storage|undefined} undefined where the browser forbids it */
export function tabStorage() {
  try {
    return window.sessionStorage;
  } catch {
    return undefined;
  }
}

// The end reasons of the sessions table, and those that stand for a link that is gone.
const REASONS = {
  timeout: 'It was quiet for too long.',
  expired: 'The link has expired.',
  max_messages: 'All its messages are used.',
  max_duration: 'It has reached its longest duration.',
  link_deactivated: 'The link was switched off.',
  link_deleted: 'The link was removed.',
};

/**
 * @param {{status?: string, end_reason?: string}} ended
 * @param {boolean} readable whether messages are on the page
 * @returns {{title: string, text: string}}
 */
export function describeEnd({ status, end_reason }, readable) {
  if (status === 'invalid') {
    return { title: 'This chat is not available', text: 'It may have ended. Open your link again to start a new one.' };
  }
  const otherwise = readable ? 'You can still read the messages above.' : 'Its messages are no longer shown.';
  return { title: 'This chat has ended', text: REASONS[end_reason] ?? otherwise };
}

const END_KEY = 'temp-chat-page:ended';

/** Keeps how the chat of this tab ended, for a reload. @param {Storage|undefined} storage */
export function rememberEnd(storage, { status, end_reason }) {
  try {
    storage?.setItem(END_KEY, JSON.stringify({ status, end_reason }));
  } catch {
    // A full or forbidden storage: a reload tells less.
  }
}

/** @param {Storage|undefined} storage @returns {{status?: string, end_reason?: string}|undefined} */
export function recallEnd(storage) {
  try {
    return JSON.parse(storage?.getItem(END_KEY)) ?? undefined;
  } catch {
    return undefined;
  }
}

/** @param {Storage|undefined} storage */
export function forgetEnd(storage) {
  try {
    storage?.removeItem(END_KEY);
  } catch {
    // Nothing could be kept either.
  }
}

/** @param {import('./client.js').ChatError} error @returns {string} what to tell about a message not sent */
export function describeFailure(error) {
  const seconds = Math.ceil((error.retryAfter ?? 0) / 1000);
  if (error.status === 429) return seconds ? `Too many messages, wait ${seconds} s` : error.message;
  if (error.code === 'network') return 'Not sent, no connection';
  if (error.status >= 500) return 'Not sent, the service is busy';
  return 'Not sent';
}
