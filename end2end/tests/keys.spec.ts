import { expect, test } from './fixtures/test';

test('a key for programs is shown once, opens the e2b API, and is refused after it was revoked', async ({ page, request }) => {
  // The server is shared by all tests, and so are its keys.
  const name = `laptop ${Date.now()}`;
  await page.goto('/settings');
  await page.getByRole('link', { name: 'Keys for programs' }).click();
  await page.getByRole('textbox', { name: 'Name' }).fill(name);
  await page.getByRole('combobox', { name: 'Opens' }).selectOption({ label: 'the e2b API' });
  await page.getByRole('button', { name: 'Make a key' }).click();

  const made = page.getByRole('status');
  await expect(made.getByRole('heading', { name: `${name} was made` })).toBeVisible();
  await expect(made).toContainText(/E2B_API_KEY=e2b_[0-9a-f]{40}/);
  const key = (await made.innerText()).match(/e2b_[0-9a-f]{40}/)?.[0] ?? '';
  const status = async () => (await request.get('/v2/sandboxes', { headers: { 'x-api-key': key } })).status();
  expect(await status()).toBe(200);

  await page.goto('/settings/keys');
  const row = page.getByRole('listitem').filter({ hasText: name });
  await expect(row).toContainText(`…${key.slice(-4)}`);
  await expect(page.getByRole('main')).not.toContainText(key);
  // One press asks and says what will be lost.
  await row.getByText('Revoke', { exact: true }).first().click();
  await expect(row).toContainText('Its sandboxes end');
  expect(await status()).toBe(200);
  await row.getByRole('button', { name: `Revoke ${name}` }).click();
  await expect(page).toHaveURL('/settings/keys');
  await expect(row).toHaveCount(0);
  expect(await status()).toBe(401);
});
