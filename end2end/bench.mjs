// What a person waits for, measured in Chromium against a running server with the demo model. One JSON line a figure.

import { chromium } from '@playwright/test';

const [base] = process.argv.slice(2);
const ROUNDS = 7;

const browser = await chromium.launch({ executablePath: process.env.SANDCASTLE_CHROMIUM, args: ['--no-sandbox'] });
try {
  const page = await browser.newPage({ viewport: { width: 1440, height: 900 } });
  report('page load to hydrated, p50', median(await repeat(ROUNDS, () => hydration(page))));
  report('Enter to first event in the browser, p50', median(await firstEvents(page)), 50);
  const shown = await repeat(3, () => instantApp(page));
  report('Enter to the instant app on the screen, p50', median(shown), 3000, `slowest of ${shown.length}: ${Math.round(Math.max(...shown))} ms`);
} finally {
  await browser.close();
}

async function hydration(page) {
  await page.goto(base);
  await page.locator('html[data-hydrated]').waitFor({ state: 'attached' });
  return page.evaluate(() => performance.now());
}

/** From the key press to the person's own message in the conversation: it gets there by the event stream only. */
async function firstEvents(page) {
  await start(page, 'What can you do?');
  await idle(page);
  const times = [];
  for (let round = 0; round < ROUNDS; round++) {
    const box = page.getByRole('textbox', { name: 'Message', exact: true });
    await box.fill(`What can you do, once more ${round}?`);
    await page.evaluate(() => {
      window.firstEvent = new Promise((seen) => {
        let pressed;
        addEventListener('keydown', () => (pressed = performance.now()), { capture: true, once: true });
        new MutationObserver((_, observer) => {
          if (pressed === undefined) return;
          observer.disconnect();
          seen(performance.now() - pressed);
        }).observe(document.querySelector('[role=log]'), { childList: true, subtree: true });
      });
    });
    await box.press('Enter');
    times.push(await page.evaluate(() => window.firstEvent));
    await idle(page);
  }
  return times;
}

async function instantApp(page) {
  await page.goto(base);
  await page.locator('html[data-hydrated]').waitFor({ state: 'attached' });
  const prompt = await page.getByRole('group', { name: 'Sample prompts' }).getByRole('button').first().getAttribute('title');
  const begun = performance.now();
  await start(page, prompt, false);
  const app = page.frameLocator('iframe[title="Preview"]');
  await app.locator('html:not([data-sandcastle-page]) body:not(:has(> main[data-live])) :is(h1, h2, main, button)').first().waitFor();
  const took = performance.now() - begun;
  await idle(page);
  return took;
}

async function start(page, prompt, open = true) {
  if (open) {
    await page.goto(base);
    await page.locator('html[data-hydrated]').waitFor({ state: 'attached' });
  }
  const box = page.getByRole('textbox', { name: 'What shall we build?' });
  await box.fill(prompt);
  await box.press('Enter');
  await page.waitForURL(/\/p\//);
  await page.locator('html[data-hydrated]').waitFor({ state: 'attached' });
}

/** Until the newest message is a finished answer. */
async function idle(page) {
  const newest = page.getByRole('log').getByRole('article').last();
  await newest.filter({ hasText: /Done in/ }).waitFor({ timeout: 60_000 });
}

async function repeat(count, measure) {
  const times = [];
  for (let round = 0; round < count; round++) times.push(await measure());
  return times;
}

function median(times) {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)];
}

function report(what, ms, goal_ms, note) {
  console.log(JSON.stringify({ what, ms, goal_ms, note }));
}
