// Builds templates through the unmodified npm package `e2b`. Run as `drive.mjs` is.
import assert from 'node:assert/strict'
import { mkdtemp, mkdir, writeFile, symlink, chmod } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const { Sandbox, Template, waitForPort, waitForFile, BuildError } = await import(pathToFileURL(process.argv[2]))

const made = []
const create = async (template, options = {}) => {
  const sandbox = await Sandbox.create(template, { timeoutMs: 120_000, ...options })
  made.push(sandbox)
  return sandbox
}
const fails = async (build, pattern) => {
  const error = await build().then(() => assert.fail('it was built'), (error) => error)
  assert.ok(error instanceof BuildError, `${error}`)
  assert.match(error.message, pattern)
}

const context = await mkdtemp(join(tmpdir(), 'templates-'))
await mkdir(join(context, 'src/deep'), { recursive: true })
await writeFile(join(context, 'one.txt'), 'one')
await writeFile(join(context, 'src/.hidden'), 'hidden')
await writeFile(join(context, 'src/deep/run.sh'), '#!/bin/sh\necho ran')
await chmod(join(context, 'src/deep/run.sh'), 0o755)
await writeFile(join(context, 'big.bin'), Buffer.alloc(3_000_000, 7))
await symlink('one.txt', join(context, 'link'))
const builder = () => Template({ fileContextPath: context })

const promises = {
  async 'a template brings its files, variables, folder and start command'() {
    const logs = []
    const template = builder()
      .fromPythonImage('3')
      .setEnvs({ GREETING: 'hello', LONGER: '$GREETING there' })
      .setWorkdir('/home/user/app')
      .copy('one.txt', 'copied.txt')
      .copy('one.txt', 'into/')
      .copy('src', 'source')
      .copy('link', 'into/')
      .copy('big.bin', '/var/user/', { mode: 0o600 })
      .copy(['one.txt', 'big.bin'], '/tmp/')
      .runCmd('echo "$GREETING from $PWD" > made; echo to the log; echo louder >&2')
      .runCmd(['cat /tmp/one.txt >> made', 'pwd >> made'])
      .setUser('user')
      .setStartCmd('python3 -m http.server 8123', waitForPort(8123))
    const info = await Template.build(template, 'tools:v1', {
      tags: ['stable', 'default'],
      cpuCount: 1,
      memoryMB: 512,
      onBuildLogs: (entry) => logs.push(entry.message),
    })
    assert.ok(info.templateId && info.buildId)
    for (const line of ['to the log', 'louder']) assert.ok(logs.includes(line), `${line} is not in ${logs}`)
    assert.ok(logs.some((line) => line.includes('RUN echo')), `${logs}`)
    const sandbox = await create('tools')
    const said = async (line) => (await sandbox.commands.run(line)).stdout
    assert.equal(await said('pwd'), '/home/user/app\n')
    assert.equal(await said('echo $GREETING, $LONGER'), 'hello, hello there\n')
    assert.equal(await sandbox.files.read('made'), 'hello from /home/user/app\none/home/user/app\n')
    assert.equal(await said('cat copied.txt into/one.txt source/.hidden into/link'), 'oneonehiddenone')
    assert.equal(await said('readlink into/link; source/deep/run.sh'), 'one.txt\nran\n')
    assert.equal(await said('stat -c %s-%a /var/user/big.bin; ls -A /var/user | grep layer || true'), '3000000-600\n')
    // It was ready before it was handed out.
    assert.equal(await said('curl -s http://127.0.0.1:8123/copied.txt'), 'one')
    assert.equal((await sandbox.getInfo()).templateId, info.templateId)
    assert.equal((await sandbox.getInfo()).name, 'tools')
    const answer = await fetch(`${process.env.E2B_API_URL}/copied.txt`, {
      headers: { 'e2b-sandbox-id': sandbox.sandboxId, 'e2b-sandbox-port': '8123' },
    })
    assert.equal(await answer.text(), 'one')
  },
  async 'names and tags lead to builds, and a new build takes its tags over'() {
    assert.equal(await Template.exists('tagged'), false)
    const build = (text, name, options) =>
      Template.build(builder().fromTemplate('base').runCmd(`echo ${text} > text`), name, options)
    const first = await build('first', 'tagged:v1')
    assert.equal(await Template.exists('tagged'), true)
    await Template.assignTags('tagged:v1', ['default', 'keep'])
    const second = await build('second', 'tagged')
    assert.equal(second.templateId, first.templateId)
    assert.notEqual(second.buildId, first.buildId)
    const read = async (name) => (await create(name)).files.read('/home/user/text')
    assert.equal(await read('tagged'), 'second\n')
    assert.equal(await read('tagged:v1'), 'first\n')
    assert.equal(await read(first.templateId), 'second\n')
    const tags = Object.fromEntries((await Template.getTags('tagged')).map((tag) => [tag.tag, tag.buildId]))
    assert.deepEqual(tags, { v1: first.buildId, keep: first.buildId, default: second.buildId })
    await Template.removeTags('tagged', ['keep'])
    await assert.rejects(() => create('tagged:keep'), /not found/)
    await assert.rejects(() => Template.removeTags('tagged', ['v1', 'default']), /last tags/)
    const further = await Template.build(builder().fromTemplate('tagged:v1').runCmd('cat text >> more'), 'further')
    assert.equal(await (await create(further.templateId)).files.read('/home/user/more'), 'first\n')
  },
  async 'files that were sent once are not sent again'() {
    const logs = []
    const build = () =>
      Template.build(builder().fromBaseImage().copy('one.txt', '.'), 'cached', { onBuildLogs: (e) => logs.push(e.message) })
    await build()
    assert.ok(logs.includes("Uploaded 'one.txt'"), `${logs}`)
    await build()
    assert.ok(logs.includes("Skipping upload of 'one.txt', already cached"), `${logs}`)
  },
  async 'a Dockerfile is built as far as it can be held'() {
    const file = 'FROM node:20\nENV A=1 B=two\nWORKDIR /home/user/web\nCOPY src/deep ./\nRUN echo $A $B > said\nCMD ["sleep", "1000"]'
    const template = builder().fromDockerfile(file).setReadyCmd(waitForFile('/home/user/web/said'))
    await Template.build(template, 'from-dockerfile')
    const sandbox = await create('from-dockerfile')
    assert.equal(await sandbox.files.read('/home/user/web/said'), '1 two\n')
    assert.ok((await sandbox.commands.list()).some((process) => process.args.join(' ').includes('sleep')))
  },
  async 'what cannot be held is said at its step'() {
    const build = (template) => () => Template.build(template, 'broken')
    await fails(build(builder().fromBaseImage().runCmd('echo why >&2; exit 3')), /exit status 3: why/)
    await fails(build(builder().fromBaseImage().copy('one.txt', '/app/one.txt')), /holds what is in \/home\/user/)
    await fails(build(builder().fromBaseImage().setWorkdir('/app')), /WORKDIR \/app: .*holds what is in \/home\/user/)
    await fails(build(builder().fromBaseImage().aptInstall('jq')), /there is no root/)
    await fails(build(builder().fromBaseImage().setUser('postgres')), /there is no user "postgres"/)
    await fails(build(builder().fromImage('a/b', { username: 'u', password: 'p' })), /fromImageRegistry/)
    await fails(build(builder().fromTemplate('nosuch')), /template 'nosuch' not found/)
    await fails(build(builder().fromBaseImage().setStartCmd('exit 4', 'false')), /start command ended: exit status 4/)
    await fails(() => Template.build(builder().fromBaseImage(), 'big', { memoryMB: 1_000_000 }), /memoryMB/)
    await fails(() => Template.build(builder().fromBaseImage(), 'base'), /base belongs/)
    assert.equal(await Template.exists('broken'), false)
  },
}

let failed = 0
for (const [promise, check] of Object.entries(promises)) {
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
