// Drives this server through the unmodified npm package `e2b`. Run by the integration tests with the environment the
// package itself reads (E2B_API_URL, E2B_SANDBOX_URL, E2B_API_KEY) and the package's entry as the one argument.
import assert from 'node:assert/strict'
import { pathToFileURL } from 'node:url'

const entry = process.argv[2]
const { Sandbox, NotFoundError, CommandExitError, TimeoutError, AuthenticationError } = await import(pathToFileURL(entry))
const old = process.argv[3] === 'old'

const made = []
const create = async (options = {}) => {
  const sandbox = await Sandbox.create({ timeoutMs: 120_000, ...options })
  made.push(sandbox)
  return sandbox
}
const eventually = async (what, check) => {
  for (const end = Date.now() + 60_000; Date.now() < end; await new Promise((r) => setTimeout(r, 20))) {
    if (await check()) return
  }
  assert.fail(`never happened: ${what}`)
}

const promises = {
  async 'a sandbox is created, described, listed and killed'() {
    const label = `listed ${Math.random()}`
    const sandbox = await create({ metadata: { label, 'a b': 'c/d&e' }, envs: { GREETING: 'hello' } })
    assert.ok(await sandbox.isRunning())
    const info = await sandbox.getInfo()
    assert.equal(info.sandboxId, sandbox.sandboxId)
    assert.equal(info.metadata['a b'], 'c/d&e')
    assert.ok(info.endAt > new Date())
    const found = await Sandbox.list({ query: { metadata: { label, 'a b': 'c/d&e' }, state: ['running'] } }).nextItems()
    assert.deepEqual(found.map((item) => item.sandboxId), [sandbox.sandboxId])
    const none = await Sandbox.list({ query: { metadata: { label: 'another' } } }).nextItems()
    assert.deepEqual(none, [])
    assert.equal((await sandbox.commands.run('echo $GREETING')).stdout, 'hello\n')
    assert.equal(await Sandbox.kill(sandbox.sandboxId), true)
    assert.equal(await Sandbox.kill(sandbox.sandboxId), false)
    assert.equal(await sandbox.isRunning(), false)
    await assert.rejects(() => Sandbox.connect(sandbox.sandboxId), NotFoundError)
  },
  async 'lists come in pages'() {
    const label = `paged ${Math.random()}`
    const all = await Promise.all([1, 2, 3].map(() => create({ metadata: { label } })))
    const pages = Sandbox.list({ query: { metadata: { label } }, limit: 2 })
    const seen = []
    while (pages.hasNext) seen.push(...(await pages.nextItems()).map((item) => item.sandboxId))
    assert.deepEqual(seen.sort(), all.map((sandbox) => sandbox.sandboxId).sort())
  },
  async 'a command streams both outputs and tells its exit code'() {
    const sandbox = await create()
    const out = [], err = []
    const result = await sandbox.commands.run('echo one; echo two >&2; cat; pwd', {
      onStdout: (data) => out.push(data), onStderr: (data) => err.push(data), cwd: '/tmp', envs: { A: 'b' },
    })
    assert.equal(result.stdout, 'one\n/tmp\n')
    assert.equal(out.join(''), 'one\n/tmp\n')
    assert.equal(err.join(''), 'two\n')
    const failure = await sandbox.commands.run('echo no >&2; exit 3').catch((error) => error)
    assert.ok(failure instanceof CommandExitError)
    assert.equal(failure.exitCode, 3)
    assert.equal(failure.stderr, 'no\n')
    const large = await sandbox.commands.run('head -c 3000000 /dev/zero | tr "\\0" x')
    assert.equal(large.stdout.length, 3_000_000)
    assert.equal((await sandbox.commands.run('echo "grüße ✓"')).stdout, 'grüße ✓\n')
    await assert.rejects(() => sandbox.commands.run('true', { cwd: '/nope' }), /does not exist/)
  },
  async 'a command that takes too long is ended'() {
    const sandbox = await create()
    await assert.rejects(() => sandbox.commands.run('sleep 100', { timeoutMs: 300 }), TimeoutError)
    await eventually('the command is gone', async () => (await sandbox.commands.list()).length === 0)
  },
  async 'a background command takes input, is listed, is found again with its output, and is killed'() {
    const sandbox = await create()
    const handle = await sandbox.commands.run('echo ready; while read -r line; do echo "got $line"; done', {
      background: true, stdin: true, timeoutMs: 0,
    })
    await eventually('it is ready', () => handle.stdout.includes('ready'))
    await sandbox.commands.sendStdin(handle.pid, 'first\n')
    await eventually('the input arrived', () => handle.stdout.includes('got first'))
    const listed = await sandbox.commands.list()
    assert.deepEqual(listed.map((process) => process.pid), [handle.pid])
    await handle.disconnect()
    const again = await (await Sandbox.connect(sandbox.sandboxId)).commands.connect(handle.pid)
    await sandbox.commands.sendStdin(handle.pid, 'second\n')
    await eventually('the second viewer sees all', () => again.stdout.includes('ready') && again.stdout.includes('got second'))
    assert.equal(await sandbox.commands.kill(handle.pid), true)
    await assert.rejects(() => again.wait(), CommandExitError)
    assert.equal(await sandbox.commands.kill(handle.pid), false)
  },
  async 'whoever comes after the end is told all output and the exit code'() {
    const sandbox = await create()
    const handle = await sandbox.commands.run('echo early; exit 7', { background: true })
    await assert.rejects(() => handle.wait(), CommandExitError)
    const late = await sandbox.commands.connect(handle.pid)
    const failure = await late.wait().catch((error) => error)
    assert.equal(failure.exitCode, 7)
    assert.equal(failure.stdout, 'early\n')
  },
  async 'a terminal echoes, is resized and ends'() {
    const sandbox = await create()
    let screen = ''
    const decoder = new TextDecoder()
    const pty = await sandbox.pty.create({ cols: 90, rows: 30, timeoutMs: 0, onData: (data) => { screen += decoder.decode(data) } })
    const type = (text) => sandbox.pty.sendInput(pty.pid, new TextEncoder().encode(text))
    await type('stty size; tty\n')
    await eventually('the size is told', () => screen.includes('30 90'))
    await eventually('the terminal is told', () => /\/dev\/pts\/\d/.test(screen))
    await sandbox.pty.resize(pty.pid, { cols: 120, rows: 40 })
    await type('stty size\n')
    await eventually('the new size is told', () => screen.includes('40 120'))
    // The words are split, so that their echo is not taken for their output; and the program itself says that it runs,
    // because the shell's own words come before it has the terminal.
    await type(`sh -c 'echo be""gun; exec sleep 1000'\n`)
    await eventually('the program runs', () => screen.includes('begun'))
    await type('\u0003')
    await type('exit 5\n')
    const end = await pty.wait().catch((error) => error)
    assert.equal(end.exitCode, 5, `${end}, on the screen: ${screen}`)
  },
  async 'files are written, read, listed, moved and removed'() {
    const sandbox = await create()
    const info = await sandbox.files.write('docs/a.txt', 'hello')
    assert.equal(info.path, '/home/user/docs/a.txt')
    assert.equal(await sandbox.files.read('docs/a.txt'), 'hello')
    const bytes = new Uint8Array(300_000).map((_, index) => index % 251)
    await sandbox.files.write('/tmp/b.bin', bytes.buffer)
    assert.deepEqual(await sandbox.files.read('/tmp/b.bin', { format: 'bytes' }), bytes)
    await sandbox.files.write('empty', '')
    assert.equal(await sandbox.files.read('empty'), '')
    const several = await sandbox.files.write([{ path: 'm/1', data: 'one' }, { path: '/tmp/2', data: 'two' }])
    assert.deepEqual(several.map((file) => file.path), ['/home/user/m/1', '/tmp/2'])
    assert.equal((await sandbox.commands.run('cat m/1 /tmp/2; stat -c %U m/1')).stdout, 'onetwouser\n')
    const entries = await sandbox.files.list('docs')
    assert.deepEqual(entries.map((entry) => [entry.name, entry.type]), [['a.txt', 'file']])
    assert.equal(await sandbox.files.makeDir('made/deep'), true)
    assert.equal(await sandbox.files.makeDir('made/deep'), false)
    await sandbox.files.rename('docs/a.txt', 'made/deep/c.txt')
    assert.equal(await sandbox.files.exists('docs/a.txt'), false)
    const moved = await sandbox.files.getInfo('made/deep/c.txt')
    assert.equal(moved.size, 5)
    assert.equal(moved.permissions, '-rw-r--r--')
    await sandbox.files.remove('made')
    assert.equal(await sandbox.files.exists('made'), false)
    await assert.rejects(() => sandbox.files.read('nothing'), NotFoundError)
    await assert.rejects(() => sandbox.files.list('nothing'), NotFoundError)
    await assert.rejects(() => sandbox.files.write('/usr/x', 'y'))
  },
  async 'a watched directory tells what happens in it'() {
    const sandbox = await create()
    await sandbox.files.makeDir('watched/below')
    const events = []
    const handle = await sandbox.files.watchDir('watched', (event) => { events.push(`${event.type} ${event.name}`) }, { recursive: true, timeoutMs: 0 })
    await sandbox.files.write('watched/x', '1')
    await sandbox.commands.run('echo 2 > watched/below/y; rm watched/x')
    await eventually('all is told', () => ['create x', 'write x', 'create below/y', 'remove x'].every((event) => events.includes(event)))
    await handle.stop()
    await assert.rejects(() => sandbox.files.watchDir('missing', () => {}), NotFoundError)
  },
  async 'signed addresses open one file without a key'() {
    const sandbox = await create()
    await sandbox.files.write('shared.txt', 'for all')
    const url = await sandbox.downloadUrl('shared.txt')
    const response = await fetch(url)
    assert.equal(await response.text(), 'for all')
    assert.match(response.headers.get('content-security-policy'), /sandbox/)
    assert.equal((await fetch(url.replace('shared', 'other'))).status, 401)
    const form = new FormData()
    form.append('file', new Blob(['up']), 'up.txt')
    assert.equal((await fetch(await sandbox.uploadUrl('up.txt'), { method: 'POST', body: form })).status, 200)
    assert.equal(await sandbox.files.read('up.txt'), 'up')
    const expired = await sandbox.downloadUrl('shared.txt', { useSignatureExpiration: -10 })
    assert.equal((await fetch(expired)).status, 401)
  },
  async 'a pause keeps files and processes until it is resumed'() {
    const sandbox = await create()
    await sandbox.files.write('kept', 'yes')
    const counter = await sandbox.commands.run('i=0; while sleep 0.05; do i=$((i+1)); echo $i > count; done', { background: true, timeoutMs: 0 })
    const watched = counter.wait().catch((error) => error)
    await eventually('it counts', async () => (await sandbox.files.exists('count')))
    await (sandbox.pause ?? sandbox.betaPause).call(sandbox)
    assert.ok((await watched) instanceof Error)
    assert.equal(await sandbox.isRunning(), false)
    const paused = await Sandbox.list({ query: { state: ['paused'] } }).nextItems()
    assert.ok(paused.some((item) => item.sandboxId === sandbox.sandboxId))
    const again = await Sandbox.connect(sandbox.sandboxId)
    assert.equal(await again.files.read('kept'), 'yes')
    const running = await again.commands.list()
    assert.deepEqual(running.map((process) => process.pid), [counter.pid])
    const before = Number(await again.files.read('count'))
    await eventually('it counts on', async () => Number(await again.files.read('count')) > before)
  },
  async 'the time to live is set anew and ends the sandbox'() {
    const sandbox = await create()
    await sandbox.setTimeout(600_000)
    assert.ok((await sandbox.getInfo()).endAt > new Date(Date.now() + 500_000))
    await sandbox.setTimeout(1000)
    await eventually('it is gone', async () => !(await sandbox.isRunning()))
  },
  async 'a server inside is reached under its own host'() {
    const sandbox = await create()
    await sandbox.commands.run('mkdir -p w && cd w && echo inside > index.html && python3 -m http.server 8123', { background: true, timeoutMs: 0 })
    const host = sandbox.getHost(8123)
    const headers = { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '8123' }
    await eventually('it answers', async () => {
      const response = await fetch(process.env.E2B_SANDBOX_URL, { headers })
      return response.status === 200 && (await response.text()) === 'inside\n'
    })
    assert.match(host, /8123/)
    const closed = await fetch(process.env.E2B_SANDBOX_URL, { headers: { ...headers, 'E2b-Sandbox-Port': '9' } })
    assert.equal(closed.status, 502)
    assert.match((await closed.json()).message, /port is not open/)
  },
  async 'metrics are told'() {
    const sandbox = await create()
    const metrics = await sandbox.getMetrics()
    assert.ok(metrics.length > 0 && metrics[0].memTotal > 0 && metrics[0].cpuCount > 0)
  },
  async 'a wrong key opens nothing'() {
    const apiKey = `e2b_${'0'.repeat(40)}`
    await assert.rejects(() => Sandbox.create({ apiKey }), AuthenticationError)
    const sandbox = await create()
    await assert.rejects(() => Sandbox.kill(sandbox.sandboxId, { apiKey }), AuthenticationError)
    await assert.rejects(() => create({ template: undefined, timeoutMs: 0 }))
  },
}

const promisesOfNewOnes = {
  async 'snapshots and forks have the files and lives of their own'() {
    const sandbox = await create()
    await sandbox.files.write('state', 'one')
    const snapshot = await sandbox.createSnapshot()
    await sandbox.files.write('state', 'two')
    const fromSnapshot = await Sandbox.create(snapshot.snapshotId, { timeoutMs: 60_000 })
    made.push(fromSnapshot)
    assert.equal(await fromSnapshot.files.read('state'), 'one')
    const [fork] = await sandbox.fork({ timeoutMs: 60_000 })
    made.push(fork)
    assert.equal(await fork.files.read('state'), 'two')
    await fork.files.write('state', 'three')
    assert.equal(await sandbox.files.read('state'), 'two')
    assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), true)
    assert.equal(await Sandbox.deleteSnapshot(snapshot.snapshotId), false)
  },
  async 'a sandbox that pauses by itself wakes by the next word to it'() {
    const sandbox = await create({ lifecycle: { onTimeout: 'pause', autoResume: true } })
    await sandbox.files.write('kept', 'yes')
    await sandbox.pause()
    assert.equal((await sandbox.getInfo()).state, 'paused')
    assert.equal(await sandbox.files.read('kept'), 'yes')
    assert.equal((await sandbox.getInfo()).state, 'running')
  },
  async 'metadata stays with a file'() {
    const sandbox = await create()
    const info = await sandbox.files.write('noted', 'x', { metadata: { Author: 'me' } })
    assert.deepEqual(info.metadata, { author: 'me' })
    assert.deepEqual((await sandbox.files.getInfo('noted')).metadata, { author: 'me' })
    await sandbox.files.write('packed', 'squeezed', { gzip: true })
    assert.equal(await sandbox.files.read('packed'), 'squeezed')
  },
}

let failed = 0
for (const [promise, check] of Object.entries(old ? promises : { ...promises, ...promisesOfNewOnes })) {
  try {
    await check()
    console.log(`ok   ${promise}`)
  } catch (error) {
    failed += 1
    console.log(`FAIL ${promise}: ${error?.stack ?? error}`)
  }
}
await Promise.all(made.map((sandbox) => sandbox.kill().catch(() => {})))
process.exit(failed ? 1 : 0)
