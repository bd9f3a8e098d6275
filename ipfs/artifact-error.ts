// The error class of ipfs/: a function folder, an artifact or a block cannot be used.

export type ArtifactErrorCode =
  | 'NOT_A_FUNCTION_FOLDER'
  | 'ARTIFACT_MANIFEST'
  | 'ARTIFACT_ENTRY'
  | 'ARTIFACT_IMPORT'
  | 'ARTIFACT_BUNDLE'
  | 'ARTIFACT_LOAD'
  | 'ARTIFACT_NATIVE_ADDON'
  | 'ARTIFACT_SECRET'
  | 'ARTIFACT_INVALID'
  | 'ARTIFACT_TOO_LARGE'
  | 'ARTIFACT_NOT_FOUND'
  | 'ARTIFACT_CORRUPT';

/** Its message is one line: what, on what, what to do. */
export class ArtifactError extends Error {
  override readonly name = 'ArtifactError';
  readonly code: ArtifactErrorCode;

  constructor(code: ArtifactErrorCode, message: string, cause?: unknown) {
    super(message, { cause });
    this.code = code;
  }
}
