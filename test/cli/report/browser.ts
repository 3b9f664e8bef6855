// Runs the scripts of a page on linkedom: a document without layout or pictures, so those are made up here.
import { createContext, runInContext } from 'node:vm';
import { parseHTML } from 'linkedom';

export interface Browser {
  // biome-ignore lint/suspicious/noExplicitAny: linkedom's documents are not typed as the DOM of TypeScript's library
  document: any;
  /** Calls to the canvases, by name. */
  drawn: Map<string, number>;
  /** Sizes and colours change: what the page listens to. */
  changeColors(): void;
  /** Runs what was put off until the next frame. */
  settle(): Promise<void>;
}

/** Parses a page and runs its scripts; an error in one of them is thrown. */
export async function openPage(text: string): Promise<Browser> {
  const window = parseHTML(text);
  const { document } = window;
  const drawn = new Map<string, number>();
  const context2d = new Proxy({} as Record<string, unknown>, {
    get: (target, name: string) =>
      target[name] ??
      ((...args: unknown[]) => {
        drawn.set(name, (drawn.get(name) ?? 0) + 1);
        for (const arg of args)
          if (typeof arg === 'number' && Number.isNaN(arg)) throw new Error(`${name} was called with NaN`);
        return name === 'measureText' ? { width: 8 } : {};
      }),
    set: (target, name: string, value) => {
      target[name] = value;
      return true;
    },
  });
  for (const [name, value] of [
    ['clientWidth', 400],
    ['clientHeight', 190],
    ['offsetWidth', 400],
  ] as const)
    Object.defineProperty(window.HTMLElement.prototype, name, { get: () => value, configurable: true });
  Object.defineProperty(window.HTMLElement.prototype, 'getBoundingClientRect', {
    value: () => ({ left: 0, top: 0, width: 400, height: 190 }),
    configurable: true,
  });
  Object.defineProperty(window.HTMLCanvasElement.prototype, 'getContext', {
    value: () => context2d,
    configurable: true,
  });
  const colorListeners: (() => void)[] = [];
  class Path2D {
    constructor() {
      // biome-ignore lint/correctness/noConstructorReturn: stands for every path
      return context2d;
    }
  }
  const tasks: (() => void)[] = [];
  const later = (task: () => void) => tasks.push(task);
  const globals: Record<string, unknown> = {
    document,
    Path2D,
    getComputedStyle: () => ({ getPropertyValue: () => '#123456' }),
    matchMedia: () => ({
      matches: false,
      addEventListener: (_: string, listener: () => void) => colorListeners.push(listener),
      removeEventListener() {},
    }),
    requestAnimationFrame: later,
    queueMicrotask: later,
    addEventListener() {},
    removeEventListener() {},
    dispatchEvent() {},
    devicePixelRatio: 1,
    navigator: { language: 'en' },
    CustomEvent: window.CustomEvent,
    HTMLElement: window.HTMLElement,
    JSON,
    Math,
    Intl,
    console,
    setTimeout,
  };
  globals.window = globals;
  const context = createContext(globals);
  const settle = async () => {
    for (let task = tasks.shift(); task; task = tasks.shift()) task();
  };
  for (const script of document.querySelectorAll('script:not([type])'))
    try {
      runInContext(script.textContent, context, { filename: 'page.js' });
    } catch (error) {
      // The stack would hold the whole of a script that is one line.
      const { message, stack } = error as Error;
      throw new Error(`${message} ${stack?.match(/page\.js:\d+:\d+/g)}`);
    }
  await settle();
  return { document, drawn, settle, changeColors: () => colorListeners.forEach((listener) => void listener()) };
}
