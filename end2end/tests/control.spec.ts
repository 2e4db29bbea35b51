import { expect, test } from './fixtures/test';
import { FakeModel, neverEnds, refuses, says } from './fixtures/fake-model';
import { Server } from './fixtures/server';
import { Workbench } from './fixtures/workbench';

test('a refused key shows the provider\'s words, and Retry goes on once it works', async ({ page }) => {
  const model = await FakeModel.start(refuses(401, 'Incorrect API key provided: test.'), says('All is well now.'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('Anything at all');
    await expect(workbench.conversation).toContainText('Incorrect API key provided');
    await expect(workbench.composer, 'an error never locks the composer').toBeEditable();
    await expect(page.locator('body')).not.toContainText('test-key');
    await workbench.retryButton.click();
    await expect(workbench.conversation).toContainText('All is well now.');
    await workbench.settled();
    await expect(workbench.retryButton).toBeHidden();
  } finally {
    await server.stop();
    await model.stop();
  }
});

test('Stop ends a turn at once, and the next message is answered', async ({ page }) => {
  const model = await FakeModel.start(neverEnds('Thinking about it'), says('Second answer.'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('Something long');
    await expect(workbench.conversation).toContainText('Thinking about it');
    await workbench.stopButton.click();
    await workbench.settled();
    await expect(workbench.conversation).toContainText(/stopped/i);
    await workbench.send('And now something short');
    await expect(workbench.conversation).toContainText('Second answer.');
    await workbench.settled();
  } finally {
    await server.stop();
    await model.stop();
  }
});

test('a message sent while the agent works waits for it, and Stop does not lose it', async ({ page }) => {
  const model = await FakeModel.start(neverEnds('First'), says('Answer to what waited.'));
  const server = await Server.start(model.env);
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('First');
    await expect(workbench.stopButton).toBeVisible();
    await workbench.send('Second');
    await expect(workbench.stopButton, 'sending does not stop the turn').toBeVisible();
    await workbench.stopButton.click();
    await expect(workbench.stopButton).toBeHidden();
    await expect(page.getByRole('button', { name: 'Continue' }), 'what waits can be taken up').toBeVisible();
    await workbench.send('Third');
    await expect(workbench.conversation).toContainText('Answer to what waited.');
    await workbench.settled();
  } finally {
    await server.stop();
    await model.stop();
  }
});

test('a model that cannot be reached is named, and the server stays up', async ({ page, request }) => {
  const server = await Server.start({ AI_GATEWAY_BASE_URL: 'http://127.0.0.1:9/v1', AI_GATEWAY_API_KEY: 'k', AI_MODEL: 'm' });
  try {
    const workbench = new Workbench(page, server.baseURL);
    await workbench.ask('Hello');
    await expect(workbench.retryButton).toBeVisible({ timeout: 45_000 });
    await expect(workbench.conversation).toContainText('127.0.0.1:9');
    expect((await request.get(`${server.baseURL}/healthz`)).ok()).toBe(true);
  } finally {
    await server.stop();
  }
});
