// Two tabs of Chromium, played from outside: one JSON object a line each way, {"do", "tab", ...} in and {"value"} or
// {"error"} out, in the order of asking. The end of the input closes the browser.
//
//   node browser.mjs PATH_OF_CHROMIUM

import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { chromium } from 'playwright-core';

const TIMEOUT = 20_000; // ms, per step
const DEVICES = {
  phone: { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true },
  desk: { viewport: { width: 1280, height: 800 } },
};
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

const browser = await chromium.launch({ executablePath: process.argv[2], args: FLAGS, timeout: TIMEOUT });
const tabs = new Map(); // device -> page
let complaints = []; // what the consoles said since they were last asked

/** Opens the tab of a device; the second time the same tab goes there. */
async function open({ tab, url }) {
  if (!tabs.has(tab)) {
    const context = await browser.newContext({ ...DEVICES[tab], deviceScaleFactor: 1, locale: 'en-GB' });
    context.setDefaultTimeout(TIMEOUT);
    tabs.set(tab, watch(tab, await context.newPage()));
  }
  const page = tabs.get(tab);
  if (new URL(page.url()).pathname === new URL(url).pathname) await page.goto('about:blank'); // or only the fragment would change
  await page.goto(url);
}

function watch(tab, page) {
  page.on('console', (message) => {
    if (['error', 'warning', 'assert'].includes(message.type())) complaints.push(`${tab}: ${message.text()}`);
  });
  page.on('pageerror', (error) => complaints.push(`${tab}: uncaught ${error.message}`));
  page.on('crash', () => complaints.push(`${tab}: crashed`));
  return page;
}

/** Writes into the composer and sends, as the device's owner would: with the button or with Enter. */
async function say({ tab, text }) {
  const page = tabs.get(tab);
  await page.fill('#text', text);
  if (DEVICES[tab].hasTouch) await page.tap('#send');
  else await page.press('#text', 'Enter');
}

/** What the visitor sees, once it is unlike what was seen before, or after a second. */
async function look({ tab, unlike }) {
  const before = JSON.stringify(unlike);
  for (const until = Date.now() + 1000; ; await pause(20)) {
    const seen = await tabs.get(tab).evaluate(view);
    if (JSON.stringify(seen) !== before || Date.now() > until) return seen;
  }
}

/** Runs in the page. */
function view() {
  const find = (id) => document.getElementById(id);
  const text = (id) => (find(id)?.checkVisibility() ? find(id).textContent.trim() : '');
  const items = [...document.querySelectorAll('#thread > .item')];
  const { bottom = 0 } = items.at(-1)?.getBoundingClientRect() ?? {};
  return {
    url: location.href,
    state: text('pill'),
    notice: text('notice'),
    closed: text('closed-title'),
    blank: text('blank-title'),
    writable: find('text').checkVisibility(),
    answering: find('answering').checkVisibility(),
    newestInView: bottom <= find('scroller').getBoundingClientRect().bottom,
    overflow: document.documentElement.scrollWidth - innerWidth,
    messages: items.map((item) => ({
      role: item.classList.contains('own') ? 'user' : 'assistant',
      content: item.querySelector('.bubble').textContent,
      pending: item.classList.contains('pending'),
      failed: item.classList.contains('failed'),
    })),
  };
}

/** Takes a picture in both colour schemes. */
async function picture({ tab, paths }) {
  const page = tabs.get(tab);
  for (const [colorScheme, path] of Object.entries(paths)) {
    await page.emulateMedia({ colorScheme });
    await page.screenshot({ path, animations: 'disabled' });
  }
}

function complained() {
  const since = complaints;
  complaints = [];
  return since;
}

const steps = { open, say, look, picture, complained, reload: ({ tab }) => tabs.get(tab).reload() };

async function answer(line) {
  try {
    const step = JSON.parse(line);
    const value = await steps[step.do](step);
    return { value: step.do === 'reload' ? null : value ?? null };
  } catch (error) {
    return { error: String(error?.stack ?? error) };
  }
}

const lines = createInterface({ input: process.stdin });
for await (const line of lines) {
  if (!process.stdout.write(`${JSON.stringify(await answer(line))}\n`)) await once(process.stdout, 'drain');
}
await browser.close();
console.log(JSON.stringify({ value: 'closed' }));
