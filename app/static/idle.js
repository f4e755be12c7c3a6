// Frames that only count the time of a status line come once a second; all others as they were asked for.
(() => {
  const SLOW_MS = 1000;
  const frame = requestAnimationFrame.bind(window);
  const isClock = (callback) => /^\(\)\s*=>\s*\{[^{}]{0,60}performance\.now\(\)\s*-/.test(callback.toString());
  window.requestAnimationFrame = (callback) =>
    isClock(callback) ? setTimeout(() => callback(performance.now()), SLOW_MS) : frame(callback);
})();
