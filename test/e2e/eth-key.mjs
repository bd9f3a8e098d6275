// An Ethereum key tool for friend.sh, as `cast wallet` is one: it knows keys, transactions and
// hashes, and nothing of DeFaaS. The key is in ETH_KEY.
import { readFileSync } from 'node:fs';
import {
  AbiCoder,
  getAddress,
  Interface,
  id,
  JsonRpcProvider,
  keccak256,
  verifyTypedData,
  Wallet,
} from 'ethers';

const wallet = new Wallet(process.env.ETH_KEY);
const [command, ...words] = process.argv.slice(2);
const input = () => readFileSync(0, 'utf8');

const commands = {
  address: async () => wallet.address,
  /** Signs the text on stdin (ERC-191). */
  sign: async () => wallet.signMessage(input()),
  /** Signs the typed data on stdin (EIP-712). */
  'sign-typed': async () => {
    const { domain, types, message } = JSON.parse(input());
    return wallet.signTypedData(domain, types, message);
  },
  /** recover-typed <signature>: who signed the typed data on stdin. */
  'recover-typed': async (signature) => {
    const { domain, types, message } = JSON.parse(input());
    return verifyTypedData(domain, types, message, signature).toLowerCase();
  },
  /** send <rpc url> <to> <function> <argument>...: sends a transaction and waits for it. */
  send: async (url, to, signature, ...args) => {
    const provider = new JsonRpcProvider(url, undefined, { cacheTimeout: -1, pollingInterval: 50 });
    const abi = new Interface([`function ${signature}`]);
    const data = abi.encodeFunctionData(abi.fragments[0], args);
    const sent = await wallet.connect(provider).sendTransaction({ to: getAddress(to), data });
    const { status, blockNumber } = await sent.wait();
    provider.destroy();
    if (status !== 1) throw new Error(`${signature} has failed`);
    return String(blockNumber);
  },
  /** hash-struct <type>: EIP-712 struct hash of the values on stdin, for flat types. */
  'hash-struct': async (type) => {
    const values = JSON.parse(input());
    const fields = type
      .slice(type.indexOf('(') + 1, -1)
      .split(',')
      .map((field) => field.split(' '));
    const words = fields.map(([, name]) => values[name]);
    const types = ['bytes32', ...fields.map(([word]) => word)];
    return keccak256(AbiCoder.defaultAbiCoder().encode(types, [id(type), ...words]));
  },
};

console.log(await commands[command](...words));
