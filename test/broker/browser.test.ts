// A stranger's function and our own client in a real browser: what a hostile page can reach on the
// gateway's origin, and that a page of any origin that a version names can sign in, call and check
// its receipts.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { delimiter, join, resolve } from 'node:path';
import { build } from 'esbuild';
import { type Browser, chromium, type Page } from 'playwright-core';
import { KEYS, type SmallHouse, startSmallHouse } from './small-house.ts';

const ROOT = resolve(import.meta.dirname, '../..');
/** Debian's Chromium, under any of its names. */
const CHROMIUM = (process.env.PATH ?? '')
  .split(delimiter)
  .flatMap((dir) => ['chromium', 'chromium-browser', 'google-chrome'].map((it) => join(dir, it)))
  .find(existsSync);
const CHROMIUM_ARGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/**
 * What a page tries to reach. Each attempt returns what it got; the gateway's own pages reach all
 * of it.
 */
const TRIES = `({
  localStorage: () => localStorage.getItem('name'),
  sessionStorage: () => sessionStorage.getItem('name'),
  cookie: () => document.cookie,
  caches: async () => (await caches.keys())[0],
  indexedDB: () => new Promise((resolve, reject) => {
    const opening = indexedDB.open('name');
    opening.onsuccess = () => { resolve(opening.result.name); opening.result.close(); };
    opening.onerror = () => reject(opening.error);
  }),
  serviceWorker: async () => (await navigator.serviceWorker.getRegistrations()) && 'name',
  token: async () => (await fetch('/oauth/token', { method: 'POST', credentials: 'include' })).text(),
  receipts: async () => (await fetch('/receipts?lane=x:y', { credentials: 'include' })).text(),
  document: async () => (await fetch('/.well-known/defaas')).text(),
  nonce: async () => (await fetch('/oauth/nonce', { method: 'POST' })).text(),
  popup: () => window.open('/healthz', '_blank').location.href,
})`;
/** What it tries on the window that has opened or framed it. */
const TRIES_ON_OTHER = `({
  storage: () => other.localStorage.getItem('name'),
  text: () => other.document.body.innerText,
  session: () => other.sessionStorage.getItem('name'),
  address: () => other.location.href,
})`;
const RUN_ALL = `async (tries) => {
  const found = {};
  for (const [name, attempt] of Object.entries(tries)) {
    try { found[name] = 'got ' + await attempt(); }
    catch (error) { found[name] = error.name; }
  }
  return found;
}`;
const HOSTILE_PAGE = `<!doctype html><title>hostile</title>
<form method="post" action="/settlements"></form>
<script>
const other = window.opener ?? window.parent;
(async () => {
  const run = ${RUN_ALL};
  const found = await run(${TRIES});
  const onOther = await run(${TRIES_ON_OTHER});
  const leaving = await run({
    worker: () => navigator.serviceWorker.register(location.pathname + '/worker.js', { scope: '/' }),
    top: () => { if (window.top === window) throw new DOMException('', 'SecurityError'); top.location.href = 'about:blank'; },
    cookie: () => { document.cookie = 'evil=1; path=/'; },
  });
  globalThis.found = { ...found, ...Object.fromEntries(Object.entries(onOther).map(([name, it]) => ['other ' + name, it])),
    ...Object.fromEntries(Object.entries(leaving).map(([name, it]) => ['leave ' + name, it])) };
})();
</script>`;
const HOSTILE = `export default async (request) => {
  const headers = { 'set-cookie': 'evil=1; path=/', 'service-worker-allowed': '/', 'clear-site-data': '"*"',
    'content-security-policy': "default-src * 'unsafe-inline'", 'access-control-allow-origin': 'null' };
  const { pathname } = new URL(request.url);
  if (pathname === '/seen') return Response.json(Object.fromEntries(request.headers));
  if (pathname === '/worker.js') return new Response('', { headers: { ...headers, 'content-type': 'text/javascript' } });
  return new Response(${JSON.stringify(HOSTILE_PAGE)}, { headers: { ...headers, 'content-type': 'text/html' } });
};`;
const ECHO = `export default async (request) => new Response(await request.text());`;

/** The client library as a page loads it. */
const PAGE_SCRIPT = `
import { Wallet } from 'ethers';
import { createChainReader } from './broker/client/chain-reader.ts';
import { connect } from './broker/client/connection.ts';
import { createFailoverCaller } from './broker/client/failover.ts';
import { createCaller } from './broker/client/invoke.ts';
import { fetchReceipt } from './broker/client/receipts.ts';
import { createSession } from './broker/client/session.ts';
import { createTrustRoot } from './broker/client/trust-root.ts';
import { verifyReceipt } from './broker/client/verify-receipt.ts';

const trustOf = ({ deployments, rpcUrl }) => createTrustRoot({ deployments, rpcUrl });
const laneOf = (asked) => async (connection) => {
  const wallet = new Wallet(asked.privateKey);
  const lane = { payer: asked.payer, signer: wallet.address.toLowerCase() };
  return { session: await createSession({ connection, key: wallet, lane }), chain: createChainReader(connection.chain) };
};
globalThis.pay = async (asked) => {
  const connection = await connect(asked.gateway, { trust: trustOf(asked), gateway: asked.account });
  const { session, chain } = await laneOf(asked)(connection);
  const caller = createCaller({ session, chain });
  const input = new TextEncoder().encode(asked.text);
  const idempotencyKey = crypto.randomUUID();
  const { response, receipt } = await caller.invoke({ function: asked.function, body: input, idempotencyKey });
  const output = new Uint8Array(await response.arrayBuffer());
  await caller.acknowledge();
  await verifyReceipt(await fetchReceipt(session, receipt.id), { domain: connection.domain, gateway: connection.document.gateway,
    lane: session.lane, chain, ownCallsKey: session.ownCallsKey, idempotencyKey,
    request: { method: 'POST', target: '/', body: input }, output });
  return { text: new TextDecoder().decode(output), seq: receipt.seq, provider: receipt.provider };
};
globalThis.payWithFailover = async (asked) => {
  const trust = trustOf(asked);
  const gateway = asked.account;
  const { chain } = await connect(asked.gateway, { trust, gateway });
  const gateways = ['http://127.0.0.1:1', asked.gateway].map((url) => ({ url, gateway, lane: laneOf(asked) }));
  const caller = createFailoverCaller({ gateways, trust, chain: createChainReader(chain) });
  const { response, gateway: origin, failovers } = await caller.invoke({ function: asked.function, body: new TextEncoder().encode(asked.text) });
  return { text: await response.text(), gateway: origin, left: failovers.map(({ code }) => code) };
};
globalThis.codeOf = async (doing) => { try { await doing; return 'done'; } catch (error) { return error.code; } };
`;

const reason = CHROMIUM ? '' : ' (skipped: no chromium on the PATH)';
const describeInBrowser = CHROMIUM ? describe : describe.skip;

describeInBrowser(`the gateway in a real browser${reason}`, function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let browser: Browser;
  let pages: Server;
  let pagesPort: number;
  let hostileUrl: string;
  let echo: string;
  let page: Page;
  let script: string;
  before(async () => {
    const bundled = await build({
      stdin: { contents: PAGE_SCRIPT, resolveDir: ROOT },
      bundle: true,
      write: false,
      format: 'esm',
      platform: 'browser',
      logLevel: 'silent',
    });
    script = bundled.outputFiles[0]?.text ?? '';
    pages = createServer((_request, response) => {
      response.setHeader('content-type', 'text/html');
      response.end(
        `<!doctype html><script type="module">${script.replaceAll('</script', '<\\/script')}</script>`,
      );
    });
    await new Promise<void>((done) => pages.listen(0, '127.0.0.1', done));
    pagesPort = (pages.address() as AddressInfo).port; // it listens on TCP
    house = await startSmallHouse();
    const sponsored = { payer: 'publisher', idempotent: true };
    const hostile = await house.publish('hostile', HOSTILE, sponsored);
    const cors = { origins: [`http://127.0.0.1:${pagesPort}`] };
    echo = await house.publish('echo', ECHO, { idempotent: true, cors });
    await house.sponsor(hostile);
    hostileUrl = `${house.url()}/functions/${hostile}`;
    browser = await chromium.launch({ executablePath: CHROMIUM ?? '', args: CHROMIUM_ARGS });
  });
  after(async () => {
    await browser?.close();
    pages?.close();
    await house?.close();
  });
  beforeEach(async () => {
    const context = await browser.newContext();
    page = await context.newPage();
    await page.goto(`${house.url()}/healthz`);
    await page.evaluate(`(async () => {
      localStorage.setItem('name', 'secret');
      sessionStorage.setItem('name', 'secret');
      document.cookie = 'name=secret; path=/';
      await caches.open('secret');
      await new Promise((resolve) => { indexedDB.open('name').onsuccess = resolve; });
    })()`);
  });
  afterEach(() => page.context().close());

  const foundBy = async (hostile: Pick<Page, 'waitForFunction'>) =>
    (await hostile.waitForFunction('globalThis.found')).jsonValue() as Promise<
      Record<string, string>
    >;
  /** The names of the attempts that succeeded. */
  const gotIn = (found: Record<string, string>) =>
    Object.entries(found)
      .filter(([, what]) => what.startsWith('got '))
      .map(([name]) => name);

  it('gives the gateway’s own page everything that hostile pages are denied', async () => {
    const found: Record<string, string> = await page.evaluate(`(${RUN_ALL})(${TRIES})`);

    const { token, receipts, document, nonce, popup, ...storage } = found;
    assert.deepEqual(storage, {
      localStorage: 'got secret',
      sessionStorage: 'got secret',
      cookie: 'got name=secret',
      caches: 'got secret',
      indexedDB: 'got name',
      serviceWorker: 'got name',
    });
    assert.match(token ?? '', /^got .*SIGN_IN_REFUSED/);
    assert.match(receipts ?? '', /^got .*TOKEN_MISSING/);
    assert.match(document ?? '', /^got .*"chainId"/);
    assert.match(nonce ?? '', /^got .*"nonce"/);
    assert.match(popup ?? '', /^got /);
  });

  it('denies a function’s page the storage, cookies, workers and routes of the gateway', async () => {
    await page.goto(hostileUrl);

    const found = await foundBy(page);

    const { 'other storage': _own, 'other text': _text, ...rest } = found;
    // A window that nobody opened or framed is its own parent.
    delete rest['other address'];
    delete rest['leave cookie'];
    assert.deepEqual(gotIn(rest), []);
    assert.equal(Object.keys(found).length, 18);
    const cookies = await page.context().cookies();
    assert.deepEqual(
      cookies.map(({ name, value }) => [name, value]),
      [['name', 'secret']],
    );
    await page.goto(`${house.url()}/healthz`);
    assert.equal(await page.evaluate('localStorage.getItem("name")'), 'secret');
    assert.equal(
      await page.evaluate('navigator.serviceWorker.getRegistrations().then((all) => all.length)'),
      0,
    );
  });

  it('denies a function’s page the window that opened it and the window that frames it', async () => {
    const [popup] = await Promise.all([
      page.waitForEvent('popup'),
      page.evaluate(`window.open(${JSON.stringify(hostileUrl)}) && undefined`),
    ]);
    const opened = await foundBy(popup);
    await page.evaluate(`document.body.append(
      Object.assign(document.createElement('iframe'), { src: ${JSON.stringify(hostileUrl)} })) && undefined`);
    const frame = await page.waitForSelector('iframe').then((it) => it.contentFrame());
    assert.ok(frame);
    const framed = await foundBy(frame);

    for (const found of [opened, framed]) {
      delete found['leave cookie'];
      assert.deepEqual(gotIn(found), []);
    }
    assert.equal(page.url(), `${house.url()}/healthz`);
  });

  it('lets a function’s page post forms, which have no effect because a cookie is no token', async () => {
    await page.goto(hostileUrl);
    await foundBy(page);

    const [reply] = await Promise.all([
      page.waitForResponse((one) => one.url() === `${house.url()}/settlements`),
      page.evaluate('document.forms[0].submit()'),
    ]);

    const { origin, authorization } = await reply.request().allHeaders();
    assert.deepEqual([origin, authorization, reply.status()], ['null', undefined, 401]);
  });

  it('shows the function no cookie of the gateway’s origin', async () => {
    const sent = page.waitForRequest(`${hostileUrl}/seen`);

    await page.goto(`${hostileUrl}/seen`);

    assert.match((await (await sent).allHeaders()).cookie ?? '', /name=secret/);
    const seen = JSON.parse(await page.evaluate('document.body.innerText'));
    assert.deepEqual([seen.cookie, typeof seen['user-agent']], [undefined, 'string']);
  });

  it('signs in, pays, calls and checks receipts from a page of another origin that the version names', async () => {
    const lane = await house.openLane(KEYS.user);
    const asked = {
      gateway: house.url(),
      account: house.account,
      deployments: { chainId: house.trust.chainId, sets: house.trust.sets },
      rpcUrl: house.chain.url,
      privateKey: lane.privateKey,
      payer: KEYS.user.address,
      function: echo,
      text: 'from a page',
    };
    await page.goto(`http://127.0.0.1:${pagesPort}/`);
    await page.waitForFunction('globalThis.codeOf');

    const first = await page.evaluate(`pay(${JSON.stringify(asked)})`);
    const second = await page.evaluate(`payWithFailover(${JSON.stringify(asked)})`);

    assert.deepEqual(first, { text: 'from a page', seq: 1, provider: 'aws-lambda' });
    assert.deepEqual(second, {
      text: 'from a page',
      gateway: house.url(),
      left: ['GATEWAY_UNREACHABLE'],
    });
    // What the page came with decides, not what the gateway says of itself.
    const [set] = house.trust.sets;
    assert.ok(set);
    const others = { ...set, contracts: { ...set.contracts, billing: set.contracts.beacon } };
    const deployments = { ...asked.deployments, sets: [others] };
    assert.equal(
      await page.evaluate(`codeOf(pay(${JSON.stringify({ ...asked, deployments })}))`),
      'DEPLOYMENT_MISMATCH',
    );
    // The same page by another name is another origin, which the version does not name.
    await page.goto(`http://localhost:${pagesPort}/`);
    await page.waitForFunction('globalThis.codeOf');
    assert.equal(
      await page.evaluate(`codeOf(pay(${JSON.stringify(asked)}))`),
      'GATEWAY_UNREACHABLE',
    );
  });
});
