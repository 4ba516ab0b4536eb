// A minimal EventSource on fetch: what the client relies on, nothing else. Static retry is the pause before the
// retry that a browser would make by itself.
export class EventSource extends EventTarget {
  static retry = 5;
  readyState = 0;
  #url;
  #lastEventId = '';
  #control = new AbortController();

  constructor(url) {
    super();
    this.#url = url;
    this.#connect();
  }

  close() {
    this.readyState = 2;
    this.#control.abort();
  }

  async #connect() {
    const headers = { Accept: 'text/event-stream' };
    if (this.#lastEventId) headers['Last-Event-ID'] = this.#lastEventId;
    try {
      const response = await fetch(this.#url, { headers, signal: this.#control.signal });
      if (response.status !== 200 || !response.headers.get('Content-Type')?.startsWith('text/event-stream')) {
        this.readyState = 2;
        response.body?.cancel();
        return this.dispatchEvent(new Event('error'));
      }
      this.readyState = 1;
      this.dispatchEvent(new Event('open'));
      await this.#read(response.body);
    } catch {
      // The connection failed or broke; both lead to a retry.
    }
    if (this.readyState === 2) return;
    this.readyState = 0;
    this.dispatchEvent(new Event('error'));
    setTimeout(() => this.readyState === 0 && this.#connect(), EventSource.retry);
  }

  async #read(body) {
    let buffer = '';
    for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
      buffer += chunk;
      for (let end; (end = buffer.indexOf('\n\n')) >= 0; buffer = buffer.slice(end + 2)) this.#event(buffer.slice(0, end));
    }
  }

  #event(block) {
    const fields = { event: 'message', data: [] };
    for (const line of block.split('\n')) {
      const [, name, value] = /^([^:]*):? ?(.*)$/.exec(line);
      if (name === 'data') fields.data.push(value);
      else if (name) fields[name] = value;
    }
    if (fields.id !== undefined) this.#lastEventId = fields.id;
    if (!fields.data.length || this.readyState === 2) return;
    this.dispatchEvent(new MessageEvent(fields.event, { data: fields.data.join('\n'), lastEventId: this.#lastEventId }));
  }
}
