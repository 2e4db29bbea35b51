// What a person sees of an answer that streams, measured in Chromium against a running server whose model is here. The
// server waits for it: `node bench-stream.mjs BASE PORT` listens on PORT first. One JSON line a figure.

import { createServer } from 'node:http';
import { chromium } from '@playwright/test';

const [base, port] = process.argv.slice(2);
/** Tokens a second, and for how many seconds. */
const RATE = 250;
const SECONDS = 60;

/** When each word left the model (Unix ms, with fractions). */
const sent = [];
let speak = () => {};

const model = createServer((request, response) => {
  if (request.url.endsWith('/models')) return void response.end(JSON.stringify({ data: [{ id: 'fake' }] }));
  request.resume().on('end', () => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.socket.setNoDelay(true);
    speak(response);
  });
});
await new Promise((ready) => model.listen(Number(port), '127.0.0.1', ready));

const browser = await chromium.launch({ executablePath: process.env.SANDCASTLE_CHROMIUM, args: ['--no-sandbox'] });
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  // A first answer, so that the page is open and its code is warm.
  speak = (response) => words(response, 1, 20);
  await page.goto(base);
  await page.locator('html[data-hydrated]').waitFor({ state: 'attached' });
  const home = page.getByRole('textbox', { name: 'What shall we build?' });
  await home.fill('Say something');
  await home.press('Enter');
  await page.waitForURL(/\/p\//);
  await page.locator('html[data-hydrated]').waitFor({ state: 'attached' });
  await idle(page);

  // Words one by one, as a model of common speed says them.
  const calm = await answer(page, 25, 150);
  report('token to screen, p50', quantile(calm.delays, 50), undefined, '25 tokens a second');
  report('token to screen, p95', quantile(calm.delays, 95), 50, '25 tokens a second');

  const fast = await answer(page, RATE, RATE * SECONDS);
  const note = `${RATE} tokens a second for ${SECONDS} s, ${fast.frames} changes of the page`;
  report('token to screen at full speed, p95', quantile(fast.delays, 95), undefined, note);
  report('longest main-thread task meanwhile', Math.max(0, ...fast.tasks), 50, 'tasks below 50 ms are not reported by the browser and count as 0');
} finally {
  await browser.close();
  model.closeAllConnections();
  model.close();
}

/** Streams so many words at this rate and measures when each was on the page. */
async function answer(page, rate, count) {
  sent.length = 0;
  speak = (response) => words(response, rate, count);
  await page.evaluate(() => {
    const seen = (window.seen = { times: [], tasks: [], frames: 0 });
    const log = document.querySelector('[role=log]');
    new PerformanceObserver((list) => seen.tasks.push(...list.getEntries().map((task) => task.duration))).observe({ type: 'longtask' });
    new MutationObserver(() => {
      // The end of the text says how far it is; it is on the screen with the next frame.
      const said = [...(log.lastElementChild?.textContent.slice(-400).matchAll(/w(\d+)\./g) ?? [])].at(-1);
      if (!said) return;
      const upTo = Number(said[1]);
      requestAnimationFrame(() => {
        seen.frames++;
        const now = performance.timeOrigin + performance.now();
        for (let at = seen.times.length; at <= upTo; at++) seen.times[at] = now;
      });
    }).observe(log, { childList: true, characterData: true, subtree: true });
  });
  const box = page.getByRole('textbox', { name: 'Message', exact: true });
  await box.fill('Go on');
  await box.press('Enter');
  await page.waitForFunction((last) => window.seen.times.length > last, count - 1, { timeout: 120_000 });
  await idle(page);
  const { times, tasks, frames } = await page.evaluate(() => window.seen);
  return { delays: sent.map((at, word) => times[word] - at), tasks, frames };
}

/** Says `w0. w1. …`, each word at its time whatever happened to the one before. */
function words(response, rate, count) {
  const begun = performance.now();
  let word = 0;
  const step = () => {
    while (word < count && performance.now() >= begun + (word * 1000) / rate) {
      sent[word] = performance.timeOrigin + performance.now();
      chunk(response, { content: `w${word}. ` }, null);
      word++;
    }
    if (word < count) return void setTimeout(step, 1);
    chunk(response, {}, 'stop');
    response.end('data: [DONE]\n\n');
  };
  step();
}

function chunk(response, delta, finish_reason) {
  response.write(`data: ${JSON.stringify({ choices: [{ index: 0, delta, finish_reason }] })}\n\n`);
}

/** Until the newest message is a finished answer. */
async function idle(page) {
  await page.getByRole('log').getByRole('article').last().filter({ hasText: /Done in/ }).waitFor({ timeout: 60_000 });
}

function quantile(times, percent) {
  return times.toSorted((a, b) => a - b)[Math.floor(((times.length - 1) * percent) / 100)];
}

function report(what, ms, goal_ms, note) {
  console.log(JSON.stringify({ what, ms, goal_ms, note }));
}
