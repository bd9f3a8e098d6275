import assert from 'node:assert/strict';
import { compareVariables } from '../../scripts/variables.ts';

describe('the check of variables', () => {
  it('accepts a list that is equal to what is read', () => {
    const example = '# text\n#DEFAAS_PORT=8080\nAWS_REGION=\n';

    const faults = compareVariables(example, ["env['DEFAAS_PORT']", 'process.env.AWS_REGION']);

    assert.deepEqual(faults, []);
  });

  it('names a variable that is read and not listed, and one that is listed and not read', () => {
    const faults = compareVariables('#DEFAAS_OLD=1\n', ["whole('DEFAAS_NEW_MS', 1); env.PATH"]);

    assert.deepEqual(faults, [
      'DEFAAS_NEW_MS is read, but not in .env.example',
      'DEFAAS_OLD is in .env.example, but nothing reads it',
    ]);
  });
});
