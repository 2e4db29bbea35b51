import type { Locator, Page } from '@playwright/test';
import { expect, test } from './fixtures/test';
import { FakeModel, calls, neverEnds, says } from './fixtures/fake-model';
import { Server } from './fixtures/server';
import { Workbench } from './fixtures/workbench';

/** The line of the list that is a run of this task. */
function run(page: Page, task: string): Locator {
  return page.getByRole('row').filter({ has: page.getByRole('link', { name: new RegExp(`^${task}\\b`) }) });
}

/** The chosen status among the words that narrow the list. */
function filter(page: Page, name: string): Locator {
  return page.getByRole('search').getByRole('combobox', { name });
}

test('the runs of a turn are listed, filtered, read on a timeline and replayed with another payload', async ({ page }) => {
  const files = { files: [{ path: 'notes.txt', content: 'first words' }] };
  const model = await FakeModel.start(calls(['create_sandbox', {}], ['generate_files', files]), says('Written.'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('Keep notes');
    await workbench.settled();

    await workbench.open('/runs');
    for (const task of ['agentTurn', 'createSandbox', 'writeFiles']) {
      await expect(run(page, task), task).toContainText('Completed');
    }
    await filter(page, 'Task').selectOption('writeFiles');
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await workbench.hydrated();
    await expect(page).toHaveURL(/task=writeFiles/);
    await expect(run(page, 'writeFiles')).toHaveCount(1);
    await expect(run(page, 'createSandbox')).toHaveCount(0);
    await filter(page, 'Status').selectOption({ label: 'Any failure' });
    await page.getByRole('button', { name: 'Show', exact: true }).click();
    await expect(page.getByRole('heading', { name: 'No run fits' })).toBeVisible();

    // The turn, with what it started as lines of its timeline.
    await workbench.open('/runs?task=agentTurn');
    await run(page, 'agentTurn').getByRole('link').click();
    await workbench.hydrated();
    await expect(page.getByRole('heading', { level: 1 })).toContainText('agentTurn');
    const timeline = page.locator('section').filter({ has: page.getByRole('heading', { name: 'Timeline' }) });
    await expect(timeline.getByRole('link', { name: /createSandbox/ })).toBeVisible();
    await timeline.getByRole('link', { name: /writeFiles/ }).click();
    await workbench.hydrated();
    await expect(page.getByRole('heading', { level: 1 })).toContainText('writeFiles');
    const overview = page.getByRole('complementary').filter({ has: page.getByRole('heading', { name: 'Overview' }) });
    await expect(overview.getByRole('link', { name: 'Keep notes' })).toHaveAttribute('href', /^\/p\//);
    await expect(overview.locator('a[href^="/p/"][href$="?pane=logs"]')).toBeVisible();

    // Once more, with other words in the file.
    const first = page.url();
    await page.keyboard.press('r');
    const payload = page.getByRole('textbox', { name: 'Payload' });
    await expect(payload).toHaveValue(/first words/);
    await payload.fill((await payload.inputValue()).replace('first words', 'second words'));
    await page.locator('form').filter({ has: payload }).getByRole('button', { name: 'Replay' }).click();
    await page.waitForURL((url) => !first.includes(url.pathname));
    await workbench.hydrated();
    await expect(page.getByRole('status').filter({ hasText: '1 run was submitted once more.' })).toBeVisible();
    await expect(page.getByRole('heading', { level: 1 })).toContainText('Completed');
    await expect(page.locator('section').filter({ has: page.getByRole('heading', { name: 'Payload' }) })).toContainText('second words');
    const replayed = page.getByRole('complementary').getByRole('term').filter({ hasText: 'Replay of' });
    await expect(replayed).toBeVisible();
  } finally {
    await page.close();
    await server.stop();
    await model.stop();
  }
});

test('a change that comes while a box is checked is shown once it is not, and Enter opens, never cancels', async ({ page }) => {
  const model = await FakeModel.start(neverEnds('One'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('One');
    await expect(workbench.stopButton).toBeVisible();
    const bench = page.url();
    await workbench.open('/runs?task=agentTurn');
    const turn = run(page, 'agentTurn');
    await expect(turn).toContainText('Executing');
    const box = turn.getByRole('checkbox');
    await box.check();

    const other = await page.context().newPage();
    const second = new Workbench(other, server.baseURL);
    await second.open(new URL(bench).pathname);
    await second.stopButton.click();
    await expect(second.stopButton).toBeHidden();
    await other.goto(page.url());
    await expect(run(other, 'agentTurn')).toContainText('Canceled');
    await other.close();

    await expect(turn, 'what is chosen stays').toContainText('Executing');
    await expect(box).toBeChecked();
    await box.uncheck();
    await page.getByRole('heading', { level: 1 }).click();
    await expect(turn).toContainText('Canceled');

    await turn.getByRole('checkbox').focus();
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/runs\/run_/);
  } finally {
    await page.close();
    await server.stop();
    await model.stop();
  }
});

test('an action on all runs that fit says how many they are and waits for a yes', async ({ page }) => {
  const model = await FakeModel.start(neverEnds('One'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('One');
    await expect(workbench.stopButton).toBeVisible();
    await workbench.open('/runs?task=agentTurn');
    await page.getByRole('combobox', { name: 'Which runs' }).selectOption('All runs that fit');
    await page.getByRole('button', { name: 'Cancel', exact: true }).click();
    await expect(page.getByRole('heading', { level: 1 })).toContainText('Cancel all runs that fit?');
    await page.getByRole('link', { name: 'Leave them as they are' }).click();
    await workbench.hydrated();
    await expect(run(page, 'agentTurn')).toContainText('Executing');
    await page.getByRole('combobox', { name: 'Which runs' }).selectOption('All runs that fit');
    await page.getByRole('button', { name: 'Cancel', exact: true }).click();
    await page.getByRole('button', { name: 'Cancel 1 run' }).click();
    await expect(page.getByRole('status').filter({ hasText: '1 run was stopped.' })).toBeVisible();
  } finally {
    await page.close();
    await server.stop();
    await model.stop();
  }
});

test('the list and a run are worked with the keyboard alone, and C cancels what executes', async ({ page }) => {
  const model = await FakeModel.start(says('One.'), neverEnds('Two'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('One');
    await workbench.settled();
    await workbench.send('Two');
    await expect(workbench.stopButton).toBeVisible();

    await workbench.open('/runs?task=agentTurn');
    const runs = page.getByRole('row').getByRole('link');
    await expect(runs).toHaveCount(2);
    await page.keyboard.press('/');
    await expect(page.getByRole('searchbox', { name: 'Search runs' })).toBeFocused();
    await page.keyboard.press('Escape');
    await page.getByRole('heading', { level: 1 }).click();
    await page.keyboard.press('j');
    await expect(runs.nth(0)).toBeFocused();
    await page.keyboard.press('j');
    await expect(runs.nth(1)).toBeFocused();
    await page.keyboard.press('k');
    await expect(runs.nth(0)).toBeFocused();
    await page.keyboard.press('Enter');
    await page.waitForURL(/\/runs\/run_/);
    await workbench.hydrated();

    const heading = page.getByRole('heading', { level: 1 });
    await expect(heading).toContainText('Executing');
    const newest = page.url();
    await page.keyboard.press('j');
    await page.waitForURL((url) => url.href !== newest);
    await workbench.hydrated();
    await expect(heading).toContainText('Completed');
    await page.keyboard.press('k');
    await page.waitForURL(newest);
    await workbench.hydrated();
    await page.keyboard.press('c');
    const sure = page.getByRole('button', { name: 'Cancel the run' });
    await expect(sure).toBeFocused();
    await page.keyboard.press('Escape');
    await expect(sure).toBeHidden();
    await expect(heading, 'one press asks').toContainText('Executing');
    await page.keyboard.press('c');
    await page.keyboard.press('c');
    await expect(heading).toContainText('Canceled');
  } finally {
    await page.close();
    await server.stop();
    await model.stop();
  }
});
