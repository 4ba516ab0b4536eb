// agentopia.html in Chromium, played from outside: one JSON object a line each way, {"do", ...} in and {"value"} or {"error"} out, in
// the order of asking. The end of the input closes the browser.
//
//   node page.mjs PATH_OF_CHROMIUM

import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { chromium } from 'playwright-core';

const TIMEOUT = 20_000; // ms, per step
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync',
];

const browser = await chromium.launch({ executablePath: process.argv[2], args: FLAGS, timeout: TIMEOUT });
const page = await browser.newPage();
page.setDefaultTimeout(TIMEOUT);
let complaints = []; // what the console said since it was last asked
page.on('console', (message) => {
  if (['error', 'warning', 'assert'].includes(message.type())) complaints.push(message.text());
});
page.on('pageerror', (error) => complaints.push(`uncaught ${error.message}`));

/** What the visitor sees, once it is unlike what was seen before, or after a second. */
async function look({ unlike }) {
  const before = JSON.stringify(unlike);
  for (const until = Date.now() + 1000; ; await pause(20)) {
    const seen = await page.evaluate(view);
    if (JSON.stringify(seen) !== before || Date.now() > until) return seen;
  }
}

/** Runs in the page. */
function view() {
  const text = (id) => document.getElementById(id).textContent;
  return {
    title: text('title'),
    state: text('state'),
    error: text('error'),
    messages: [...document.querySelectorAll('#thread > li')].map((item) => ({
      role: item.dataset.role, via: item.dataset.via, content: item.textContent,
    })),
  };
}

async function say({ text }) {
  await page.fill('#text', text);
  await page.click('#send');
}

const steps = {
  look,
  say,
  open: ({ url }) => page.goto(url).then(() => null),
  click: ({ text }) => page.click(`#${text}`),
  token: () => page.evaluate(() => window.sessionToken()),
  complained: () => complaints.splice(0),
};

async function answer(line) {
  try {
    const step = JSON.parse(line);
    return { value: (await steps[step.do](step)) ?? null };
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
