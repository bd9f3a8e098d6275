// Recorded answers of the real Lambda API: the situations are set up again, and the fields in which
// the emulator once differed are compared. The number of equal answers only goes up.

import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import * as sdk from '@aws-sdk/client-lambda';
import { type AwsLambda, startAwsLambda } from '../../../../adapters/aws/emulator/emulator.ts';
import { zip } from '../../../../adapters/deployment/zip.ts';

const VECTORS = process.env.DEFAAS_VECTORS ?? '../shared/vectors';
const RECORDED = join(VECTORS, 'aws', 'recorded-answers.jsonl');
/** Equal answers of those recorded. Numbers only go up here. */
const FLOOR = 164;
const ACCOUNT = '111111111111';
const REGION = 'us-east-1';
const ARN = `arn:aws:lambda:${REGION}:${ACCOUNT}:function:`;

interface Recorded {
  readonly case: string;
  readonly answer: string;
  readonly operation: string;
  readonly differs: readonly { readonly field: string; readonly recorded: unknown }[];
}
type Send = (operation: string, input: object) => Promise<Record<string, unknown>>;
/** Answers by `case`, `answer`, as the recorder wrote them. */
type Answers = Map<string, unknown>;

const ROLE = `arn:aws:iam::${ACCOUNT}:role/r`;
const ZipFile = zip(new Map([['index.js', Buffer.from('exports.handler = async () => 1')]]));
const OTHER = zip(new Map([['index.js', Buffer.from('exports.handler = async () => 2')]]));
const NEW = { Role: ROLE, Runtime: 'nodejs22.x', Handler: 'index.handler', Code: { ZipFile } };

/** Names and qualifiers that the API refuses, and what they are called in the recording. */
const NAMES: Readonly<Record<string, { FunctionName: string; Qualifier?: string }>> = {
  invalid_characters_in_function_name: { FunctionName: 'my-function!' },
  function_name_is_single_invalid: { FunctionName: '*' },
  invalid_characters_in_qualifier: { FunctionName: 'my-function', Qualifier: 'invalid!' },
  qualifier_too_long: { FunctionName: 'my-function', Qualifier: 'a'.repeat(129) },
  invalid_account_id_in_partial_arn: { FunctionName: 'invalid-account:function:my-function' },
  invalid_region_in_arn: {
    FunctionName: `arn:aws:lambda:invalid-region:${ACCOUNT}:function:my-function`,
  },
  non_lambda_arn: { FunctionName: `arn:aws:ec2:${REGION}:${ACCOUNT}:instance:i-1234567890abcdef0` },
  function_name_too_long: { FunctionName: 'a'.repeat(65) },
  function_name_too_long_and_invalid_region: {
    FunctionName: `arn:aws:lambda:invalid-region:${ACCOUNT}:function:my-function${'a'.repeat(170)}`,
  },
  full_arn_and_qualifier_too_long_and_invalid_region: {
    FunctionName: `arn:aws:lambda:invalid-region:${ACCOUNT}:function:my-function-${'a'.repeat(170)}`,
    Qualifier: 'a'.repeat(129),
  },
  full_arn_with_multiple_qualifiers: { FunctionName: `${ARN}my-function:1:2` },
  incomplete_arn: { FunctionName: ARN.slice(0, -1) },
  partial_arn_with_extra_qualifier: { FunctionName: 'function:my-function:$LATEST:extra' },
  latest_version_with_additional_qualifier: {
    FunctionName: `${ARN}my-function:$LATEST`,
    Qualifier: '1',
  },
  lowercase_latest_qualifier: { FunctionName: `${ARN}my-function`, Qualifier: '$latest' },
  missing_region_in_arn: { FunctionName: `arn:aws:lambda::${ACCOUNT}:function:my-function` },
  missing_account_id_in_arn: { FunctionName: `arn:aws:lambda:${REGION}::function:my-function` },
  misspelled_latest_in_arn: { FunctionName: `${ARN}my-function:$LATES` },
};
const NAMED = [
  ['get_function', 'GetFunction', 170],
  ['delete_function', 'DeleteFunction', 140],
  ['invoke', 'Invoke', 170],
  ['create_function', 'CreateFunction', 140],
] as const;

describe('the aws-lambda emulator, by recorded answers of the real API,', function () {
  if (!existsSync(RECORDED)) {
    it.skip(`is equal in most of them (no ${RECORDED}: set DEFAAS_VECTORS)`);
    return;
  }
  this.timeout(120_000);
  let dir: string;
  let emulator: AwsLambda;
  let client: sdk.LambdaClient;
  before(async () => {
    dir = mkdtempSync(join(tmpdir(), 'defaas-recorded-'));
    const credentials = { accessKeyId: 'emulator', secretAccessKey: 'test-key-of-the-emulator' };
    emulator = await startAwsLambda({ dir, credentials, accountId: ACCOUNT });
    const { endpoint } = emulator;
    client = new sdk.LambdaClient({ region: REGION, endpoint, credentials, maxAttempts: 1 });
  });
  after(async () => {
    client.destroy();
    await emulator.close();
    rmSync(dir, { recursive: true, force: true });
  });

  /** Sends with the SDK. @returns the answer as the recorder's client shows it */
  const send: Send = async (operation, input) => {
    let wire: Record<string, unknown> = {};
    client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next(args);
        // The SDK's HTTP response, whose body is a stream.
        const response = result.response as { body: Readable };
        const body = Buffer.concat(await response.body.toArray());
        wire = body[0] === 0x7b ? JSON.parse(body.toString()) : {};
        response.body = Readable.from([body]);
        return result;
      },
      { step: 'deserialize', priority: 'low', name: 'wire', override: true },
    );
    // The SDK exports one command per operation, named after it.
    const commands = sdk as unknown as Record<string, new (input: object) => sdk.InvokeCommand>;
    const Command = commands[`${operation}Command`];
    assert.ok(Command, operation);
    const shown = (HTTPStatusCode: unknown) => ({ HTTPHeaders: {}, HTTPStatusCode });
    try {
      const { $metadata } = await client.send(new Command(input));
      return { ...wire, ResponseMetadata: shown($metadata.httpStatusCode) };
    } catch (error) {
      assert.ok(error instanceof sdk.LambdaServiceException, String(error));
      const { Message, message, ...rest } = wire;
      const Code = error.name;
      // The recorder's client knows no members of errors that the API's model has not.
      const known = Code === 'ValidationException' ? {} : wire;
      return {
        ...{ ...(Code === 'ValidationException' ? {} : rest), ...known },
        Error: { Code, Message: Message ?? message },
        ResponseMetadata: shown(error.$metadata.httpStatusCode),
      };
    }
  };

  async function ready(FunctionName: string): Promise<void> {
    for (;;) {
      const found = await send('GetFunctionConfiguration', { FunctionName });
      if (found.LastUpdateStatus === 'Successful') return;
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  it(`is equal in ${FLOOR} answers or more`, async () => {
    const records = readFileSync(RECORDED, 'utf8')
      .trim()
      .split('\n')
      // Each line is of this form (its README).
      .map((line): Recorded => JSON.parse(line));
    const answers: Answers = new Map();
    const keep = (of: string, answer: string, value: unknown) =>
      answers.set(`${of} ${answer}`, value);
    for (const situation of [
      ...[names, runtimes, urls, settings, states, lists, tags, events, logging],
    ]) {
      await situation(keep);
    }

    const differing = records.filter(({ case: of, answer, differs }) => {
      const key = `${of.replace(/^Test(Lambda)?\w*::test_/, '')} ${answer}`;
      const given = answers.get(key);
      return (
        given === undefined ||
        !differs.every(({ field, recorded }) => equals(given, field, recorded))
      );
    });

    const equal = records.length - differing.length;
    console.log(`      recorded answers: ${equal} of ${records.length} equal`);
    const list = differing.map(({ case: of, answer }) => `${of} ${answer}`).join('\n');
    assert.ok(equal >= FLOOR, `${equal} of ${records.length} are equal, not\n${list}`);
  });

  type Keep = (of: string, answer: string, value: unknown) => void;

  async function names(keep: Keep) {
    for (const [id, { FunctionName, Qualifier }] of Object.entries(NAMES)) {
      for (const [name, operation, longest] of NAMED) {
        const whole = Qualifier === undefined ? FunctionName : `${FunctionName}:${Qualifier}`;
        const input =
          name === 'create_function'
            ? { ...NEW, FunctionName: whole }
            : { FunctionName, Qualifier };
        if (id === 'incomplete_arn' && name === 'create_function') continue;
        const { Error: error } = await send(operation, input);
        const { Code, Message = '' } = Object(error);
        const shorten = (text: string) =>
          text
            .replaceAll('a'.repeat(longest), `<a:len(${longest})>`)
            .replaceAll('a'.repeat(129), '<a:len(129)>')
            .replaceAll('a'.repeat(65), '<a:len(65)>');
        const found = String(Message).match(
          /(Value '.*?' at '.*?' failed to satisfy constraint: .+?(?=;|$))/g,
        );
        const Errors = found?.map(shorten).sort();
        const value = Errors
          ? { Code, Count: Errors.length, Errors }
          : { Code, Message: shorten(String(Message)) };
        keep(`function_name_and_qualifier_validation[${id}-${name}]`, `${name}_exception`, value);
      }
    }
    const FunctionName = `arn:aws:lambda:${REGION}:123400000000@function:myfn`;
    keep(
      'invalid_invoke',
      'invoke_function_name_pattern_exc',
      await send('Invoke', { FunctionName }),
    );
  }

  async function runtimes(keep: Keep) {
    for (const Runtime of ['java8', 'go1.x', 'provided', 'ruby2.7', 'python3.7', 'dotnetcore3.1']) {
      const of = `create_deprecated_function_runtime_with_validation_enabled[${Runtime}]`;
      keep(
        of,
        'deprecation_error',
        await send('CreateFunction', { ...NEW, FunctionName: 'old', Runtime }),
      );
    }
  }

  async function urls(keep: Keep) {
    const FunctionName = '<function-name:1>'.replace(/\W/g, '');
    await send('CreateFunction', { ...NEW, FunctionName });
    await ready(FunctionName);
    await send('PublishVersion', { FunctionName });
    await send('CreateAlias', { FunctionName, Name: 'urlalias', FunctionVersion: '1' });
    for (const [verb, more] of [
      ['create', { AuthType: 'NONE' }],
      ['get', {}],
      ['delete', {}],
      ['update', { AuthType: 'AWS_IAM' }],
    ] as const) {
      const operation = `${verb.charAt(0).toUpperCase()}${verb.slice(1)}FunctionUrlConfig`;
      for (const [id, input] of [
        ['name_doesnotexist', { FunctionName: 'doesnotexist' }],
        ['arn_doesnotexist', { FunctionName: `${ARN}doesnotexist` }],
        ['name_doesnotexist_qualifier', { FunctionName: 'doesnotexist', Qualifier: '1' }],
        ['qualifier_version', { FunctionName, Qualifier: '1' }],
        ['qualifier_version_doesnotexist', { FunctionName, Qualifier: '2' }],
        ['qualifier_alias_doesnotexist', { FunctionName, Qualifier: 'v1' }],
        [
          'qualifier_alias_doesnotmatch_arn',
          { FunctionName: `${FunctionName}:urlalias-doesnotmatch`, Qualifier: 'urlalias' },
        ],
        ['qualifier_latest', { FunctionName, Qualifier: '$LATEST' }],
        ['config_doesnotexist', { FunctionName }],
      ] as const) {
        if (verb === 'create' && id === 'config_doesnotexist') continue;
        const answer = `${verb}_function_url_config_${id}`;
        keep('url_config_exceptions', answer, await send(operation, { ...input, ...more }));
      }
    }
    const missing = { FunctionName: 'doesnotexist' };
    const listed = await send('ListFunctionUrlConfigs', missing);
    keep('url_config_list_paging', 'list_function_notfound', listed);
    for (const [id, operation] of [
      ['get_function_url_config', 'GetFunctionUrlConfig'],
      ['get_function_code_signing_config', 'GetFunctionCodeSigningConfig'],
      ['get_function_event_invoke_config', 'GetFunctionEventInvokeConfig'],
    ] as const) {
      const value = await send(operation, { FunctionName: 'nonexisting-fn' });
      keep(`ops_on_nonexisting_fn[${id}]`, 'not_found_exception', value);
      const away = await send(operation, {
        FunctionName: `arn:aws:lambda:eu-west-1:${ACCOUNT}:function:f`,
      });
      keep(`get_function_wrong_region[${id}]`, 'wrong_region_exception', away);
    }
  }

  async function settings(keep: Keep) {
    const create = (more: object) =>
      send('CreateFunction', { ...NEW, FunctionName: 'set', ...more });
    const SubnetIds = ['subnet-1'];
    const vpc = 'invalid_vpc_config_security_group';
    for (const [answer, id] of [
      ['create-response-non-existent-security-group', 'sg-1'],
      ['create-response-invalid-format-security-group', 'bad-format-1'],
    ] as const) {
      keep(vpc, answer, await create({ VpcConfig: { SubnetIds, SecurityGroupIds: [id] } }));
    }
    const snap = await create({ SnapStart: { ApplyOn: 'invalidOption' } });
    keep('snapstart_exceptions', 'create_function_invalid_snapstart_apply', snap);
    await create({});
    await ready('set');
    const loop = { FunctionName: 'set', RecursiveLoop: 'InvalidValue' };
    const recursion = await send('PutFunctionRecursionConfig', loop);
    keep(
      'put_function_recursion_config_invalid_value',
      'put_recursion_invalid_value_error',
      recursion,
    );
    const limit = 'put_function_concurrency_with_';
    const put = (FunctionName: string) =>
      send('PutFunctionConcurrency', { FunctionName, ReservedConcurrentExecutions: 0 });
    const of = 'function_concurrency_exceptions';
    keep(of, `${limit}function_name_doesnotexist`, await put('doesnotexist'));
    const both = `${limit}function_name_doesnotexist_and_invalid_concurrency`;
    keep(of, both, await put('doesnotexist'));
    keep(of, `${limit}qualified_arn`, await put(`${ARN}set:$LATEST`));
  }

  async function states(keep: Keep) {
    const FunctionName = 'pub';
    const of = 'publish_with_update';
    await send('CreateFunction', { ...NEW, FunctionName });
    await ready(FunctionName);
    const number = uuids(1);
    const get = (Qualifier?: string) => send('GetFunction', { FunctionName, Qualifier });
    keep(of, 'get_function_result', number(await get()));
    await emulator.faults.set([{ kind: 'stuck-operation' }]);
    const input = { FunctionName, ZipFile: OTHER, Publish: true };
    const updated = await send('UpdateFunctionCode', input);
    keep(of, 'update_function_code_result', number(updated));
    keep('lambda_versions_with_code_changes', 'update_lambda_response_with_publish', updated);
    keep(of, 'get_function_version_result', number(await get('1')));
    keep(of, 'get_function_latest_result', number(await get('$LATEST')));
    const second = await send('UpdateFunctionCode', { FunctionName, ZipFile });
    keep('lambda_concurrent_code_updates', 'update-during-in-progress-update-exc', second);
    await emulator.faults.clear();

    await send('CreateFunction', { ...NEW, FunctionName: 'one', Publish: true });
    await ready('one');
    const ids = uuids(1);
    const one = (Qualifier?: string) => send('GetFunction', { FunctionName: 'one', Qualifier });
    const created = 'publish_version_on_create';
    ids(await one());
    keep(created, 'get_function_version_result', ids(await one('1')));
    keep(created, 'get_function_latest_result', ids(await one('$LATEST')));
    const list = () => send('ListVersionsByFunction', { FunctionName: 'one' });
    keep(created, 'list_versions_result', ids(await list()));
    const again = await send('PublishVersion', { FunctionName: 'one' });
    keep(created, 'repeated_publish_response', ids(again));
    keep(created, 'list_versions_result_after_publish', ids(await list()));
    await send('CreateAlias', { FunctionName: 'one', Name: 'aliasname1_1', FunctionVersion: '1' });
    keep('alias_lifecycle', 'get_function_alias_1_1', await one('aliasname1_1'));
    const byArn = await send('GetFunction', { FunctionName: `${ARN}one:aliasname1_1` });
    keep('alias_lifecycle', 'get_function_byarn_alias_1_1', byArn);
  }

  async function lists(keep: Keep) {
    const refused = await send('ListFunctions', { FunctionVersion: 'invalid' });
    keep('list_functions', 'list_functions_invalid_functionversion', refused);
    for (const [of, first, steps] of [
      ['function_lifecycle', 'get_function_response', ['_postupdate', '_postcodeupdate']],
      ['function_revisions_basic', 'get_function_response_rev2', []],
      ['function_revisions_version_and_alias', 'get_function_active_rev2', []],
      ['lambda_handler_update', 'get_function_result', []],
    ] as const) {
      const FunctionName = of;
      const ids = uuids(0);
      ids(await send('CreateFunction', { ...NEW, FunctionName }));
      await ready(FunctionName);
      keep(of, first, ids(await send('GetFunction', { FunctionName })));
      for (const step of steps) {
        const isCode = step === '_postcodeupdate';
        const change = isCode ? { ZipFile: OTHER } : { Timeout: 10 };
        const operation = isCode ? 'UpdateFunctionCode' : 'UpdateFunctionConfiguration';
        ids(await send(operation, { FunctionName, ...change }));
        await ready(FunctionName);
        keep(of, first + step, ids(await send('GetFunction', { FunctionName })));
      }
    }
  }

  async function logging(keep: Keep) {
    for (const [of, format, steps] of [
      [
        'function_advanced_logging_configuration',
        { LoggingConfig: { LogFormat: 'JSON' } },
        [[{ LogFormat: 'JSON', LogGroup: 'cool_lambda' }, 'updated_config', 'received_config']],
      ],
      [
        'advanced_logging_configuration_format_switch',
        {},
        [
          [{ LogFormat: 'JSON' }, 'updated_config', 'received_config'],
          [{ LogFormat: 'Text' }, 'updated_config_v2', 'received_config_v2'],
        ],
      ],
    ] as const) {
      const FunctionName = of;
      const ids = uuids(0);
      const created = await send('CreateFunction', { ...NEW, FunctionName, ...format });
      keep(of, 'create_response', { CreateFunctionResponse: ids(created) });
      await ready(FunctionName);
      keep(of, 'get_function_response', ids(await send('GetFunction', { FunctionName })));
      const get = () => send('GetFunctionConfiguration', { FunctionName });
      keep(of, 'function_config', ids(await get()));
      for (const [LoggingConfig, updated, received] of steps) {
        const change = { FunctionName, LoggingConfig };
        keep(of, updated, ids(await send('UpdateFunctionConfiguration', change)));
        await ready(FunctionName);
        keep(of, received, ids(await get()));
      }
    }

    const FunctionName = 'redundant';
    const of = 'redundant_updates';
    const ids = uuids(0);
    const update = async () =>
      ids(await send('UpdateFunctionConfiguration', { FunctionName, Description: 'again' }));
    ids(await send('CreateFunction', { ...NEW, FunctionName }));
    await ready(FunctionName);
    await update();
    await ready(FunctionName);
    const found = await send('GetFunctionConfiguration', { FunctionName });
    keep(of, 'get_fn_config_result', ids(found));
    keep(of, 'get_fn_result', ids(await send('GetFunction', { FunctionName })));
    await update();
    await ready(FunctionName);
    const after = await send('GetFunction', { FunctionName });
    keep(of, 'get_fn_result_after_redundant_update', ids(after));
  }

  async function tags(keep: Keep) {
    const FunctionName = 'tagged';
    const Resource = ARN + FunctionName;
    const many = (count: number) =>
      Object.fromEntries([...Array(count).keys()].map((n) => [`${n}_key`, `${n}_value`]));
    const tag = (Tags: object, resource = Resource) =>
      send('TagResource', { Resource: resource, Tags });
    await send('CreateFunction', { ...NEW, FunctionName });
    await ready(FunctionName);
    await send('PublishVersion', { FunctionName });
    keep('tag_versions', 'tag_resource_exception', await tag(many(4), `${Resource}:1`));
    keep(
      'tag_versions',
      'tag_resource_latest_exception',
      await tag(many(4), `${Resource}:$LATEST`),
    );
    const get = () => send('GetFunction', { FunctionName });
    const ids = uuids(0);
    ids(await get());
    await tag({ A: 'a', B: 'b' });
    keep('tag_lifecycle', 'get_fn_response_postaddtags', ids(await get()));
    await tag({ A: 'c' });
    keep('tag_lifecycle', 'get_fn_response_overwrite', ids(await get()));
    await send('UntagResource', { Resource, TagKeys: ['A'] });
    keep('tag_lifecycle', 'get_fn_response_postuntag', ids(await get()));
    await send('UntagResource', { Resource, TagKeys: ['B'] });
    keep('tag_lifecycle', 'get_fn_response_postuntagall', ids(await get()));
    keep('tag_limits', 'tag_lambda_too_many_tags', await tag(many(51)));
    await tag(many(50));
    keep('tag_limits', 'list_tags_response', await send('ListTags', { Resource }));
    keep('tag_limits', 'get_fn_response', await get());
    keep('tag_limits', 'tag_lambda_too_many_tags_additional', await tag({ a_key: 'v' }));
    const created = await send('CreateFunction', { ...NEW, FunctionName: 'many', Tags: many(51) });
    keep('tag_limits', 'create_function_invalid_tags', created);
  }

  async function events(keep: Keep) {
    const of = 'lambda_eventinvokeconfig_exceptions';
    const put = (FunctionName: string, more: object) =>
      send('PutFunctionEventInvokeConfig', { FunctionName, ...more });
    const retries = { MaximumRetryAttempts: 1 };
    keep(of, 'put_functionname_name_notfound', await put('doesnotexist', retries));
    keep(of, 'put_functionname_arn_notfound', await put(`${ARN}doesnotexist`, retries));
    keep(of, 'put_functionname_nootherargs', await put('doesnotexist', {}));
    const OnSuccess = { Destination: `${ARN}set` };
    const recursive = await put('set', { DestinationConfig: { OnSuccess } });
    keep(of, 'put_destination_recursive', recursive);
  }
});

/** Writes `<uuid:N>` for each RevisionId, numbered in the order in which they are seen. */
function uuids(seenBefore: number): (value: unknown) => unknown {
  const seen = new Map<string, number>();
  const write = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(write);
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value).map(([key, each]): [string, unknown] => {
      if (key !== 'RevisionId' || typeof each !== 'string') return [key, write(each)];
      const number = seen.get(each) ?? seenBefore + seen.size + 1;
      seen.set(each, number);
      return [key, `<uuid:${number}>`];
    });
    return Object.fromEntries(entries);
  };
  return write;
}

/** Whether the field has the recorded value. `null` was recorded for an absent one. */
function equals(given: unknown, field: string, recorded: unknown): boolean {
  const path = field
    .replace(/\[(\d+)\]/g, '.$1')
    .split('.')
    .slice(1);
  const value = path.reduce((of: unknown, key) => (of === undefined ? of : Object(of)[key]), given);
  if (recorded === null) return value === undefined;
  return value !== undefined && normal(value) === normal(recorded);
}

/** What the recorder normalised: partition, region, and the names of functions and groups. */
function normal(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll('arn:aws:', 'arn:<partition>:')
    .replaceAll(`:${REGION}:`, ':<region>:')
    .replaceAll(`('${REGION}')`, "('<region>')")
    .replaceAll("'eu-west-1'", "'<wrong-region>'")
    .replaceAll(/function:(?:pub|one|functionname1)\b/g, 'function:<function-name:1>')
    .replaceAll('function:nonexisting-fn', 'function:<nonexisting-fn-name>')
    .replaceAll("'sg-1'", "'<security_group_id_1>'")
    .replaceAll('[bad-format-1]', '[<security_group_id_2>]');
}
