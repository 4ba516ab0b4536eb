// What a page does with supabase-js, as scenarios by name. Runs alike in Node and in a page, with any version of the client
// and against any server of the protocol: what differs comes as parameters, and what has to happen elsewhere is asked for.

const LIMIT = 45_000; // ms, for whatever is waited for

/**
 * Plays a scenario to its end.
 *
 * params: {url, key, conversation, token?, options?, ...}; options are those of createClient.
 * world: {note(what): tells a callback's arguments, ask(what, details): has something done, resolves with the answer}.
 */
export async function play(createClient, scenario, params, world) {
  const quiet = { persistSession: false, autoRefreshToken: false, detectSessionInUrl: false };
  const options = { auth: quiet, ...params.options };
  if (scenario === 'callback') {
    options.accessToken = async () => params.token;
    delete options.auth; // the client has no sessions of its own then
  }
  const page = new Page(createClient(params.url, params.key, options), params, world);
  try {
    await scenarios[scenario](page);
  } finally {
    page.over = true;
    await page.supabase.removeAllChannels();
    page.supabase.realtime.disconnect();
  }
}

const scenarios = {
  // Joins the channels given and stays until their changes are there.
  async replay(page) {
    const channels = page.params.channels.map(({ name, bindings }) => page.open(name, ...bindings));
    await page.until('all changes', () => channels.every((c, i) => c.changes.length >= page.params.channels[i].callbacks));
  },

  // Rows come, change and go.
  async changes(page) {
    const chat = page.open('chat', page.binding('INSERT'), page.binding('UPDATE'));
    const gone = page.open('gone', { event: 'DELETE', schema: 'public', table: page.params.table });
    await page.live(chat, gone);
    const [first, second] = await page.ask('insert', { texts: ['one', 'two'] });
    await page.ask('update', { id: first, text: 'one, edited' });
    await page.ask('delete', { id: second });
    await page.until('three changes', () => chat.changes.length === 3);
    await page.until('the deletion', () => gone.changes.some((c) => c.old.id === second));
  },

  // The server goes away and comes back.
  async restart(page) {
    const chat = page.open('chat', page.binding('INSERT'));
    await page.live(chat);
    await page.ask('insert', { texts: ['before'] });
    await page.until('the row before', () => chat.texts().includes('before'));
    await page.ask('restart');
    await page.live(chat);
    await page.ask('insert', { texts: ['after'] });
    await page.until('the row after', () => chat.texts().includes('after'));
  },

  // The line is cut while rows are written.
  async cut(page) {
    const chat = page.open('chat', page.binding('INSERT'));
    await page.live(chat);
    await page.ask('insert', { texts: ['before'] });
    await page.until('the row before', () => chat.texts().includes('before'));
    await page.ask('cut');
    await page.until('the loss', () => chat.last() === 'CHANNEL_ERROR');
    await page.ask('insert', { texts: ['meanwhile'] });
    await page.ask('mend');
    await page.until('the row meanwhile', () => chat.texts().includes('meanwhile'));
    await page.ask('insert', { texts: ['after'] });
    await page.until('the row after', () => chat.texts().includes('after'));
  },

  // One channel of two is removed, then the other, then the first is opened anew.
  async remove(page) {
    const [one, two] = [page.open('one', page.binding('INSERT')), page.open('two', page.binding('INSERT'))];
    await page.live(one, two);
    await page.ask('insert', { texts: ['to both'] });
    await page.until('a row in both', () => one.changes.length === 1 && two.changes.length === 1);
    await page.remove(one);
    await page.ask('insert', { texts: ['to two'] });
    await page.until('a second row', () => two.changes.length === 2);
    await page.remove(two);
    const again = page.open('one', page.binding('INSERT'));
    await page.live(again);
    await page.ask('insert', { texts: ['to one again'] });
    await page.until('the row', () => again.texts().includes('to one again'));
  },

  // The token is given by setAuth, and another one later.
  async setAuth(page) {
    await page.supabase.realtime.setAuth(page.params.token);
    const chat = page.open('chat', page.binding('INSERT'));
    await page.live(chat);
    await page.ask('insert', { texts: ['with the first token'] });
    await page.until('a row', () => chat.changes.length === 1);
    await page.supabase.realtime.setAuth(page.params.nextToken);
    await page.ask('insert', { texts: ['with the next token'] });
    await page.until('a second row', () => chat.changes.length === 2);
  },

  // The token comes from the accessToken callback.
  async callback(page) {
    await page.supabase.realtime.setAuth(); // or the first join may go without it
    const chat = page.open('chat', page.binding('INSERT'));
    await page.live(chat);
    await page.ask('insert', { texts: ['by callback'] });
    await page.until('a row', () => chat.changes.length === 1);
  },

  // The current client sends its key with heartbeats, whatever setAuth was given.
  async heartbeats(page) {
    await page.supabase.realtime.setAuth(page.params.token);
    const chat = page.open('chat', page.binding('INSERT'));
    await page.live(chat);
    let answered = 0;
    page.supabase.realtime.onHeartbeat((status) => {
      if (status === 'ok') answered++;
      page.note({ channel: 'chat', heartbeat: status });
    });
    await page.until('three heartbeats', () => answered >= 3);
    await page.ask('insert', { texts: ['behind heartbeats'] });
    await page.until('a row', () => chat.changes.length === 1);
  },

  // Two channels of one conversation want different rows.
  async two(page) {
    const filter = `conversation_id=eq.${page.params.conversation},role=eq.assistant`;
    const agents = page.open('agents', { ...page.binding('*'), filter });
    const all = page.open('all', page.binding('*'));
    await page.live(agents, all);
    await page.ask('insert', { texts: ['from the agent'] });
    await page.ask('say', { text: 'from the visitor' });
    await page.until('all rows', () => agents.changes.length >= 1 && all.changes.length >= 2);
    await page.ask('insert', { texts: ['from the agent again'] });
    await page.until('all rows', () => agents.changes.length >= 2 && all.changes.length >= 3);
  },

  // A binding that cannot be served is told, and harms no other channel.
  async wrong(page) {
    const right = page.open('right', page.binding('INSERT'));
    await page.live(right);
    for (const [i, { difference, by }] of page.params.wrong.entries()) {
      const wrong = page.open(`wrong ${i}`, { ...page.binding('INSERT'), ...difference });
      await page.until('a refusal', () => (by === 'close' ? wrong.last() === 'CLOSED' : wrong.system.some((s) => s.status === 'error')));
      if (by !== 'close') await page.remove(wrong);
    }
    await page.ask('insert', { texts: ['still here'] });
    await page.until('a row', () => right.changes.length === 1);
  },

  // The session ends under a live channel.
  async ended(page) {
    const chat = page.open('chat', page.binding('INSERT'));
    await page.live(chat);
    await page.ask('insert', { texts: ['before the end'] });
    await page.until('a row', () => chat.changes.length === 1);
    const token = await page.ask('end');
    if (token) await page.supabase.realtime.setAuth(token); // one that is about to expire
    await page.until('the end', () => chat.last() === 'CLOSED');
    await page.ask('insert', { texts: ['after the end'] });
  },

  // Somebody comes with a session that is over: the client stops asking.
  async over(page) {
    const chat = page.open('chat', page.binding('INSERT'));
    await page.until('the end', () => chat.last() === 'CLOSED');
  },

  async thousand(page) {
    const chat = page.open('chat', page.binding('INSERT'));
    await page.live(chat);
    await page.ask('thousand');
    await page.until('1,000 rows', () => chat.changes.length >= 1000);
    await page.ask('insert', { texts: ['the last'] });
    await page.until('the last row', () => chat.texts().at(-1) === 'the last');
  },

  // Takes what is written, in two parts, on a channel with a filter and on one without.
  async watch(page) {
    const filtered = page.open('filtered', page.binding('*'));
    const bare = page.open('bare', { event: '*', schema: 'public', table: page.params.table });
    await page.live(filtered, bare);
    for (const when of ['live', 'seen']) {
      const last = await page.ask(when);
      await page.until('the last row', () => [filtered, bare].every((c) => c.changes.some((change) => change.new.id === last)));
    }
  },
};

class Page {
  constructor(supabase, params, world) {
    Object.assign(this, { supabase, params, ask: world.ask, over: false, waiting: new Set() });
    this.note = (what) => {
      if (!this.over) world.note(what);
      for (const look of this.waiting) look();
    };
  }

  /** The binding for an event of the visitor's conversation. */
  binding(event) {
    return { event, schema: 'public', table: this.params.table, filter: `conversation_id=eq.${this.params.conversation}` };
  }

  /** Opens a channel; what it was told is kept in what is returned. */
  open(name, ...bindings) {
    const seen = {
      name, statuses: [], changes: [], system: [], known: 0,
      last: () => seen.statuses.at(-1),
      texts: () => seen.changes.map((c) => c.new.content?.text),
    };
    const heard = (list, value, what) => {
      list.push(value);
      this.note({ channel: name, ...what });
    };
    seen.channel = this.supabase.channel(name).on('system', {}, (system) => heard(seen.system, system, { system }));
    bindings.forEach((binding, i) => {
      seen.channel.on('postgres_changes', binding, (change) => heard(seen.changes, change, { binding: i, change }));
    });
    seen.channel.subscribe((status, error) => heard(seen.statuses, status, { status, error: error?.message }));
    return seen;
  }

  /** Waits until each channel has become live since the last time; SUBSCRIBED alone does not say that changes flow. */
  async live(...channels) {
    const flowing = (c) => c.system.filter((s) => s.extension === 'postgres_changes' && s.status === 'ok').length;
    await this.until('live channels', () => channels.every((c) => c.last() === 'SUBSCRIBED' && flowing(c) > c.known));
    for (const c of channels) c.known = flowing(c);
  }

  async remove(seen) {
    const answer = await this.supabase.removeChannel(seen.channel);
    this.note({ channel: seen.name, removed: answer });
  }

  /** Waits until a callback makes the condition true. */
  until(what, condition) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(look);
        reject(new Error(`${what}: not within ${LIMIT} ms`));
      }, LIMIT);
      const look = () => {
        if (!condition()) return;
        clearTimeout(timer);
        this.waiting.delete(look);
        resolve();
      };
      this.waiting.add(look);
      look();
    });
  }
}

/** JSON that keeps what JSON leaves out. */
export function exact(value) {
  return JSON.stringify(value, (_, v) => (v === undefined ? '(undefined)' : v));
}
