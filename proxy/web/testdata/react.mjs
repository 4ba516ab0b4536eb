// As much of React as the hook uses: one component, rendered again after each change of state.
export function fakeReact() {
  let slots = [];
  let at = 0;
  let render = () => {};
  const slot = (create) => (slots[at] ??= create()) && slots[at++];
  const changed = (a, b) => !a || a.length !== b.length || a.some((value, i) => !Object.is(value, b[i]));

  return {
    useState(initial) {
      const cell = slot(() => ({ value: initial }));
      cell.set ??= (next) => {
        const value = typeof next === 'function' ? next(cell.value) : next;
        if (Object.is(value, cell.value)) return;
        cell.value = value;
        queueMicrotask(render);
      };
      return [cell.value, cell.set];
    },
    useRef: (initial) => slot(() => ({ current: initial })),
    useCallback(callback, inputs) {
      const cell = slot(() => ({}));
      if (changed(cell.inputs, inputs)) Object.assign(cell, { callback, inputs });
      return cell.callback;
    },
    useEffect(effect, inputs) {
      const cell = slot(() => ({ effect: true }));
      if (!changed(cell.inputs, inputs)) return;
      cell.cleanup?.();
      Object.assign(cell, { inputs, cleanup: undefined, pending: effect });
    },
    mount(component) {
      const hook = { current: undefined, waiting: [] };
      render = () => {
        at = 0;
        hook.current = component();
        for (const cell of slots.filter(({ pending }) => pending)) {
          const effect = cell.pending;
          cell.pending = undefined;
          cell.cleanup = effect();
        }
        hook.waiting = hook.waiting.filter(({ condition, resolve }) => !condition(hook.current) || resolve());
      };
      hook.until = (condition) =>
        new Promise((resolve) => (condition(hook.current) ? resolve() : hook.waiting.push({ condition, resolve })));
      hook.unmount = () => slots.forEach((cell) => cell.cleanup?.());
      render();
      return hook;
    },
  };
}
