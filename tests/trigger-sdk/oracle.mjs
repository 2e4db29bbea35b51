// The unmodified SDK of Trigger.dev against this server. Each check is one promise of the API; the first broken one ends it.
import assert from 'node:assert/strict';
import { auth, batch, configure, idempotencyKeys, runs, tasks } from '@trigger.dev/sdk';

configure({ baseURL: process.env.TRIGGER_API_URL, accessToken: process.env.TRIGGER_SECRET_KEY });

const done = async (handle) => runs.poll(handle.id, { pollIntervalMs: 50 });
const check = async (promise, test) => {
  await test();
  console.log(`ok ${promise}`);
};
const refused = async (call, status, words) => {
  const error = await call().then(() => null, (error) => error);
  assert.ok(error, 'it was not refused');
  assert.equal(error.status, status, error.message);
  assert.match(error.message, words);
};

let sandboxId;

await check('a sandbox is created and its run completes', async () => {
  const run = await done(await tasks.trigger('create-sandbox', { timeout: 600000, ports: [3000] }));
  assert.equal(run.status, 'COMPLETED');
  assert.deepEqual(run.output.ports, [3000]);
  assert.equal(run.isSuccess, true);
  sandboxId = run.output.sandboxId;
});

await check('files are written and a command reads them', async () => {
  const files = [{ path: 'hello.txt', content: 'hello there\n' }];
  const wrote = await done(await tasks.trigger('write-files', { sandboxId, files }));
  assert.deepEqual(wrote.output, { success: true });
  const handle = await tasks.trigger('run-command', { sandboxId, command: 'cat', args: ['hello.txt'] });
  const run = await done(handle);
  assert.equal(run.output.exitCode, 0);
  assert.equal(run.output.stdout, 'hello there\n');
  assert.equal(run.payload.command, 'cat');
});

await check('a command that fails is a result, not a failed run', async () => {
  const run = await done(await tasks.trigger('run-command', { sandboxId, command: 'exit 3' }));
  assert.equal(run.status, 'COMPLETED');
  assert.equal(run.output.exitCode, 3);
});

await check('status and address of the sandbox', async () => {
  const status = await done(await tasks.trigger('get-sandbox-status', { sandboxId }));
  assert.deepEqual(status.output, { status: 'running' });
  const url = await done(await tasks.trigger('get-sandbox-url', { sandboxId, port: 3000 }));
  assert.match(url.output.url, new RegExp(`^http://3000-${sandboxId}\\.`));
});

await check('the same idempotency key finds the first run until it is reset', async () => {
  const key = await idempotencyKeys.create('toolcall-1', { scope: 'global' });
  const options = { idempotencyKey: key, tags: ['sbx', 'once'] };
  const first = await tasks.trigger('run-command', { sandboxId, command: 'echo once >> count' }, options);
  const second = await tasks.trigger('run-command', { sandboxId, command: 'echo once >> count' }, options);
  assert.equal(second.id, first.id);
  assert.equal(second.isCached, true);
  await done(first);
  const count = await done(await tasks.trigger('run-command', { sandboxId, command: 'cat count' }));
  assert.equal(count.output.stdout, 'once\n');
  await idempotencyKeys.reset('run-command', key);
  const third = await tasks.trigger('run-command', { sandboxId, command: 'echo again' }, options);
  assert.notEqual(third.id, first.id);
  await done(third);
});

await check('subscribeToRun tells every state and ends with the run', async () => {
  const handle = await tasks.trigger('run-command', { sandboxId, command: 'echo live; sleep 1' });
  const seen = [];
  for await (const run of runs.subscribeToRun(handle.id)) {
    seen.push(run.status);
    if (run.finishedAt) assert.equal(run.output.stdout, 'live\n');
  }
  assert.equal(seen.at(-1), 'COMPLETED');
});

await check('a public token reads its run and nothing else', async () => {
  const handle = await tasks.trigger('run-command', { sandboxId, command: 'echo public' });
  await done(handle);
  const token = await auth.createPublicToken({ scopes: { read: { runs: [handle.id] } } });
  await auth.withAuth({ accessToken: token }, async () => {
    assert.equal((await runs.retrieve(handle.id)).output.stdout, 'public\n');
    await refused(() => runs.cancel(handle.id), 403, /secret key/);
    await refused(() => runs.list().then((page) => page.data), 403, /may not list/);
  });
});

await check('the output of a command is a stream', async () => {
  const handle = await tasks.trigger('run-command', { sandboxId, command: 'echo one; sleep 0.3; echo two' });
  let text = '';
  for await (const part of await runs.fetchStream(handle.id, 'output')) text += part;
  assert.equal(text, 'one\ntwo\n');
});

await check('runs are listed by filter and page', async () => {
  const page = await runs.list({ taskIdentifier: ['run-command'], status: ['COMPLETED'], limit: 2 });
  assert.equal(page.data.length, 2);
  assert.ok(page.data.every((run) => run.taskIdentifier === 'run-command' && run.env.name));
  const next = await page.getNextPage();
  assert.ok(next.data.length > 0 && next.data.every((run) => !page.data.some((other) => other.id === run.id)));
  const tagged = await runs.list({ tag: 'once' });
  assert.equal(tagged.data.length, 2);
  assert.ok((await runs.list({ isTest: false, limit: 1 })).data.length === 1);
  let all = 0;
  for await (const run of runs.list({ period: '1h' })) all += run.id ? 1 : 0;
  assert.ok(all >= 10);
});

await check('a running command is canceled, and a finished run stays as it is', async () => {
  const handle = await tasks.trigger('run-command', { sandboxId, command: 'sleep 600' });
  for await (const run of runs.subscribeToRun(handle.id)) if (run.status === 'EXECUTING') break;
  await runs.cancel(handle.id);
  const run = await done(handle);
  assert.equal(run.status, 'CANCELED');
  await runs.cancel(handle.id);
  assert.equal((await runs.retrieve(handle.id)).status, 'CANCELED');
});

await check('a run is replayed', async () => {
  const first = await done(await tasks.trigger('run-command', { sandboxId, command: 'echo again' }));
  const again = await done(await runs.replay(first.id));
  assert.notEqual(again.id, first.id);
  assert.equal(again.output.stdout, 'again\n');
});

await check('a delayed run is moved and then starts', async () => {
  const handle = await tasks.trigger('run-command', { sandboxId, command: 'echo late' }, { delay: '1h', ttl: '10m' });
  const waiting = await runs.retrieve(handle.id);
  assert.equal(waiting.status, 'DELAYED');
  await runs.reschedule(handle.id, { delay: new Date(Date.now() + 200) });
  assert.equal((await done(handle)).output.stdout, 'late\n');
});

await check('a batch runs every item once', async () => {
  const items = ['a', 'b', 'c'].map((word) => ({ payload: { sandboxId, command: `echo ${word}` } }));
  const handle = await tasks.batchTrigger('run-command', items);
  let retrieved = await batch.retrieve(handle.batchId);
  assert.equal(retrieved.runCount, 3);
  const outputs = [];
  for (const id of retrieved.runs) outputs.push((await done({ id })).output.stdout);
  assert.deepEqual(outputs, ['a\n', 'b\n', 'c\n']);
  retrieved = await batch.retrieve(handle.batchId);
  assert.equal(retrieved.status, 'COMPLETED');
});

await check('what is wrong is said at once', async () => {
  await refused(() => tasks.trigger('launder-money', {}), 404, /no task "launder-money"/);
  await refused(() => tasks.trigger('run-command', { sandboxId }), 422, /missing field `command`/);
  await refused(() => tasks.trigger('run-command', { sandboxId: 'i234567234567234567a', command: 'id' }), 404, /no sandbox/);
  await refused(() => runs.retrieve('run_none'), 404, /no run run_none/);
  await refused(() => runs.list({ machine: 'micro' }).then((page) => page.data), 400, /"machine" is not supported/);
  await auth.withAuth({ accessToken: 'tr_dev_sk_000000000000000000000000' }, () =>
    refused(() => runs.retrieve('run_none'), 401, /Invalid API key/),
  );
  await auth.withAuth({ accessToken: process.env.OTHER_SECRET_KEY }, async () => {
    await refused(() => tasks.trigger('run-command', { sandboxId, command: 'id' }), 404, /no sandbox/);
    assert.equal((await runs.list()).data.length, 0);
  });
});
