// Plays the scenarios of supabase.mjs, many at once: in this process, or in a page of Chromium for each package.
//
//   node supabase-host.mjs
//   node supabase-host.mjs PATH_OF_CHROMIUM URL_OF_THIS_DIRECTORY
//
// One JSON object a line each way: {"run", "scenario", "package", "params"} and {"run", "answer"} in; {"run", "note"},
// {"run", "ask"} and, in the end, {"run", "done", "error"?} out. Ends with its input.

import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { play, exact } from './supabase.mjs';

const require = createRequire(import.meta.url);
const questions = new Map(); // run -> takes the answer
const runs = new Set();

const say = (line) => process.stdout.write(`${exact(line)}\n`);

function ask(run, question) {
  return new Promise((resolve) => {
    questions.set(run, resolve);
    say({ run, ask: question });
  });
}

function here({ run, scenario, package: name, params }) {
  const world = { note: (note) => say({ run, note }), ask: (what, details) => ask(run, { what, details }) };
  return play(require(name).createClient, scenario, params, world);
}

async function inBrowser(executablePath, base) {
  const { chromium } = await import('playwright-core');
  const args = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--disable-background-timer-throttling', '--disable-renderer-backgrounding',
    '--disable-backgrounding-occluded-windows'];
  const browser = await chromium.launch({ executablePath, args, timeout: 30_000 });
  const open = async (name) => {
    const page = await browser.newPage();
    const broken = new Promise((_, reject) => page.on('pageerror', reject).on('crash', () => reject(new Error('crashed'))));
    broken.catch(() => {}); // the runs tell
    await page.exposeFunction('tell', (run, json) => JSON.parse(json).forEach((note) => say({ run, note })));
    await page.exposeFunction('ask', async (run, json) => JSON.stringify(await ask(run, JSON.parse(json))));
    await page.goto(`${base}/supabase.html?${name}`);
    return { page, broken };
  };
  const pages = new Map(); // package -> its page, as a page that holds many chats would have it
  const inPage = async ({ run, scenario, package: name, params }) => {
    if (!pages.has(name)) pages.set(name, open(name));
    const { page, broken } = await pages.get(name);
    const played = page.evaluate((order) => window.play(order.run, order.scenario, order.params), { run, scenario, params });
    await Promise.race([played, broken]);
  };
  return { inPage, close: () => browser.close() };
}

const [, , chromiumPath, base] = process.argv;
const browser = chromiumPath ? await inBrowser(chromiumPath, base) : undefined;

async function start(order) {
  const { run } = order;
  try {
    await (browser?.inPage ?? here)(order);
    say({ run, done: true });
  } catch (error) {
    say({ run, done: true, error: String(error?.stack ?? error) });
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  if ('scenario' in order) {
    const run = start(order).finally(() => runs.delete(run));
    runs.add(run);
  } else {
    questions.get(order.run)(order.answer);
  }
}
await Promise.all(runs);
await browser?.close();
process.exit(0); // a client may still want to reconnect
