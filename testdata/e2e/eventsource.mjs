// Opens the event stream at the URL given with the eventsource package and prints each message as a line of JSON. Ends with its input.
import { EventSource } from 'eventsource';

const events = new EventSource(process.argv[2]);
events.addEventListener('connected', () => console.log(JSON.stringify({ type: 'connected' })));
events.onmessage = (event) => console.log(JSON.stringify({ type: 'message', id: event.lastEventId, message: JSON.parse(event.data) }));
process.stdin.on('end', () => events.close()).resume();
