import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { AbiCoder, Contract, ContractFactory, concat, JsonRpcProvider, Wallet } from 'ethers';
import hre from 'hardhat';
import { createKey, type Key } from '../../contracts/keystore.ts';
import { type Address, type Hex, keccak256Hex } from '../../contracts/libraries/keccak.ts';
import {
  hashMessage,
  recoverAddress,
  signDigest,
  verifySignature,
} from '../../contracts/signatures.ts';
import { testKey } from './hardhat-chain.ts';

/** A smart account with one owner, and the factory that makes it at a known address. */
const SOURCE = `
pragma solidity 0.8.37;
contract Account {
  address immutable OWNER;
  constructor(address owner) { OWNER = owner; }
  function isValidSignature(bytes32 hash, bytes calldata s) external view returns (bytes4) {
    require(s.length == 65, "length");
    bool valid = ecrecover(hash, uint8(s[64]), bytes32(s[0:32]), bytes32(s[32:64])) == OWNER;
    return valid ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
  }
}
contract Factory {
  function create(address owner) external returns (address) {
    return address(new Account{salt: 0}(owner));
  }
}
// / Returns the magic value as revert data, which is no acceptance.
contract Liar {
  fallback() external { assembly { mstore(0, shl(224, 0x1626ba7e)) revert(0, 32) } }
}`;
const MAGIC_6492 = `0x${'6492'.repeat(16)}`;

describe('the check of signatures', function () {
  this.timeout(60_000);
  const owner = createKey();
  const digest = keccak256Hex(new Uint8Array(32));
  const signature = signDigest(owner.privateKey, digest);
  let server: Awaited<ReturnType<typeof hre.network.createServer>>;
  let provider: JsonRpcProvider;
  let factory: Contract;
  let liar: Address;

  before(async () => {
    server = await hre.network.createServer('default', '127.0.0.1', 0);
    const { address, port } = await server.listen();
    const options = { batchMaxCount: 1, staticNetwork: true, cacheTimeout: -1 };
    provider = new JsonRpcProvider(`http://${address}:${port}`, 31337, options);
    const wallet = new Wallet(testKey(0).privateKey, provider);
    const contracts = compile(SOURCE);
    const deploy = async (name: string): Promise<Contract> => {
      const { abi, evm } = contracts[name] ?? assert.fail(name);
      const made = await new ContractFactory(abi, evm.bytecode.object, wallet).deploy();
      await made.waitForDeployment();
      return new Contract(await made.getAddress(), abi, wallet);
    };
    factory = await deploy('Factory');
    liar = lower(await (await deploy('Liar')).getAddress());
  });
  after(async () => {
    provider?.destroy();
    await server?.close();
  });

  const accountOf = async (key: Key): Promise<Address> =>
    lower(await factory.getFunction('create').staticCall(key.address));
  const wrap = async (key: Key, inner: Hex): Promise<Hex> => {
    const call = factory.interface.encodeFunctionData('create', [key.address]);
    const parts = [await factory.getAddress(), call, inner];
    const body = AbiCoder.defaultAbiCoder().encode(['address', 'bytes', 'bytes'], parts);
    return concat([body, MAGIC_6492]) as Hex; // ethers types hex as string
  };

  it('recovers the signer of a digest or a text, and nobody from other bytes', async () => {
    const message = 'gateway wants you to sign in';
    const ofText = (await new Wallet(owner.privateKey).signMessage(message)) as Hex;

    assert.equal(recoverAddress(digest, signature), owner.address);
    assert.equal(recoverAddress(hashMessage(message), ofText), owner.address);
    assert.ok(await verifySignature(provider, owner.address, digest, signature));
    assert.ok(await verifySignature(provider, owner.address, { message }, ofText));
    assert.ok(!(await verifySignature(provider, owner.address, { message }, signature)));
    assert.ok(!(await verifySignature(provider, createKey().address, digest, signature)));
    assert.ok(!(await verifySignature(provider, owner.address, digest, '0x')));
    assert.ok(!(await verifySignature(provider, owner.address, digest, '0xzz')));
  });

  it('asks an account that is not deployed yet, and does not deploy it (ERC-6492)', async () => {
    const account = await accountOf(owner);
    const stranger = createKey();

    assert.ok(await verifySignature(provider, account, digest, await wrap(owner, signature)));
    assert.equal(await provider.getCode(account), '0x');
    assert.ok(!(await verifySignature(provider, account, digest, signature)));
    const forged = signDigest(stranger.privateKey, digest);
    assert.ok(!(await verifySignature(provider, account, digest, await wrap(owner, forged))));
    assert.ok(!(await verifySignature(provider, account, digest, await wrap(stranger, forged))));
    const garbage = concat(['0x1234', MAGIC_6492]) as Hex;
    assert.ok(!(await verifySignature(provider, account, digest, garbage)));
  });

  it('asks a deployed account, with a plain or a wrapped signature (ERC-1271)', async () => {
    const account = await accountOf(owner);
    await (await factory.getFunction('create')(owner.address)).wait();

    assert.ok(await verifySignature(provider, account, digest, signature));
    assert.ok(await verifySignature(provider, account, digest, await wrap(owner, signature)));
    const forged = signDigest(createKey().privateKey, digest);
    assert.ok(!(await verifySignature(provider, account, digest, forged)));
    assert.ok(!(await verifySignature(provider, account, digest, '0x1234')));
  });

  it('does not accept the magic value of a contract that reverts', async () => {
    assert.ok(!(await verifySignature(provider, liar, digest, signature)));
    assert.ok(!(await verifySignature(provider, liar, digest, await wrap(owner, signature))));
  });
});

interface Compiled {
  abi: unknown[];
  evm: { bytecode: { object: string } };
}

function compile(content: string): Record<string, { abi: never[] } & Compiled> {
  const solc = createRequire(import.meta.url)('solc');
  const input = {
    language: 'Solidity',
    sources: { 'Accounts.sol': { content } },
    settings: {
      evmVersion: 'cancun',
      outputSelection: { '*': { '*': ['abi', 'evm.bytecode.object'] } },
    },
  };
  return JSON.parse(solc.compile(JSON.stringify(input))).contracts['Accounts.sol'];
}

function lower(address: string): Address {
  return address.toLowerCase() as Address;
}
