// Accounts that are contracts sign in too: ERC-1271 where the wallet is there, ERC-6492 where it is
// not yet, ECDSA where an account has EIP-7702 code.
import assert from 'node:assert/strict';
import {
  AbiCoder,
  Contract,
  ContractFactory,
  concat,
  getCreate2Address,
  JsonRpcProvider,
  keccak256,
  Wallet,
  zeroPadValue,
} from 'ethers';
import { createKeySigner, type KeySigner } from '../../../broker/client/key.ts';
import { signIn } from '../../../broker/client/sign-in.ts';
import type { Address, Hex } from '../../../contracts/libraries/keccak.ts';
import { testKey } from '../../contracts/hardhat-chain.ts';
import { KEYS, type SmallHouse, startSmallHouse } from '../small-house.ts';
import { type Compiled, compileWallets } from './contract-wallets.ts';

const MAGIC_6492 = `0x${'6492'.repeat(16)}`;
const NO_SALT = `0x${'00'.repeat(32)}`;
const OWNER = testKey(30);
const STRANGER = testKey(31);

describe('sign-in of contract wallets', function () {
  this.timeout(120_000);
  let house: SmallHouse;
  let provider: JsonRpcProvider;
  let factory: Contract;
  let wallets: Record<string, Compiled>;
  before(async () => {
    house = await startSmallHouse();
    const options = { batchMaxCount: 1, staticNetwork: true, cacheTimeout: -1 };
    provider = new JsonRpcProvider(house.chain.url, 31337, options);
    wallets = compileWallets();
    const { abi, evm } = wallets.WalletFactory ?? assert.fail('WalletFactory');
    const payer = new Wallet(testKey(9).privateKey, provider);
    const made = await new ContractFactory(abi, evm.bytecode.object, payer).deploy();
    await made.waitForDeployment();
    factory = new Contract(await made.getAddress(), abi, payer);
  });
  after(async () => {
    provider?.destroy();
    await house?.close();
  });

  /** Where the factory puts, or has put, the wallet of an owner: CREATE2 without a salt. */
  const walletOf = async (owner: Address): Promise<Address> => {
    const { evm } = wallets.Wallet1271 ?? assert.fail('Wallet1271');
    const init = concat([`0x${evm.bytecode.object}`, zeroPadValue(owner, 32)]);
    const address = getCreate2Address(await factory.getAddress(), NO_SALT, keccak256(init));
    return address.toLowerCase() as Address; // ethers types hex as string
  };
  const wrap = async (owner: Address, inner: Hex): Promise<Hex> => {
    const call = factory.interface.encodeFunctionData('create', [owner]);
    const parts = [await factory.getAddress(), call, inner];
    const body = AbiCoder.defaultAbiCoder().encode(['address', 'bytes', 'bytes'], parts);
    return concat([body, MAGIC_6492]) as Hex; // ethers types hex as string
  };
  /** A key that signs for `address`, in whatever form. */
  const signerFor = async (
    address: Address,
    by: Hex,
    form: (signature: Hex) => Promise<Hex> = async (signature) => signature,
  ): Promise<KeySigner> => {
    const key = await createKeySigner(by);
    return { ...key, address, signText: async (text) => form(await key.signText(text)) };
  };
  const subjectOf = async (signer: KeySigner): Promise<string> => {
    const { connection } = await house.session(KEYS.user);
    const { accessToken } = await signIn(connection, signer);
    const reply = await fetch(`${house.url()}/oauth/clients`, {
      headers: { authorization: `Bearer ${accessToken}` },
    });
    assert.equal(reply.status, 200);
    const claims = Buffer.from(accessToken.split('.')[1] ?? '', 'base64url').toString();
    return JSON.parse(claims).sub;
  };

  it('accepts a wallet that is not deployed yet, and does not deploy it (ERC-6492)', async () => {
    const wallet = await walletOf(OWNER.address);
    const signer = await signerFor(wallet, OWNER.privateKey, (inner) => wrap(OWNER.address, inner));

    assert.equal(await subjectOf(signer), `did:pkh:eip155:31337:${wallet}`);

    assert.equal(await provider.getCode(wallet), '0x');
    const plain = await signerFor(wallet, OWNER.privateKey);
    const forged = await signerFor(wallet, STRANGER.privateKey, (inner) =>
      wrap(OWNER.address, inner),
    );
    const others = await signerFor(wallet, STRANGER.privateKey, (inner) =>
      wrap(STRANGER.address, inner),
    );
    for (const signer of [plain, forged, others]) {
      await assert.rejects(subjectOf(signer), { code: 'SIGN_IN_REFUSED' });
    }
  });

  it('asks a deployed wallet at each sign-in, because its answer may change (ERC-1271)', async () => {
    await (await factory.getFunction('create')(OWNER.address)).wait();
    const { abi } = wallets.Wallet1271 ?? assert.fail('Wallet1271');
    const address = await walletOf(OWNER.address);
    const wallet = new Contract(address, abi, new Wallet(testKey(9).privateKey, provider));

    assert.equal(
      await subjectOf(await signerFor(address, OWNER.privateKey)),
      `did:pkh:eip155:31337:${address}`,
    );
    await assert.rejects(subjectOf(await signerFor(address, STRANGER.privateKey)), {
      code: 'SIGN_IN_REFUSED',
    });
    await (await wallet.getFunction('flip')()).wait();
    await assert.rejects(subjectOf(await signerFor(address, OWNER.privateKey)), {
      code: 'SIGN_IN_REFUSED',
    });
    await (await wallet.getFunction('flip')()).wait();
    assert.ok(await subjectOf(await signerFor(address, OWNER.privateKey)));
  });

  it('accepts the key of an account that has code by EIP-7702, whatever that code answers', async () => {
    const account = testKey(32);
    await house.chain.rpc('hardhat_setCode', [
      account.address,
      `0xef0100${house.chain.contracts.billing.slice(2)}`,
    ]);

    const signer = await signerFor(account.address, account.privateKey);

    assert.equal(await subjectOf(signer), `did:pkh:eip155:31337:${account.address}`);
  });
});
