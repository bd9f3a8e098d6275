// Cameras store pictures as the sensor lay and say in EXIF how to turn them; a thumbnail has no
// EXIF, so its pixels are turned.
import type { Picture } from './scale.ts';

/** EXIF orientation, 1 (upright) to 8 (Exif 2.3, tag 0x0112); 1 where none is stated. */
export function readOrientation(jpeg: Uint8Array): number {
  const view = new DataView(jpeg.buffer, jpeg.byteOffset, jpeg.byteLength);
  try {
    // Segments: marker, length, content; APP1 with "Exif" comes before the picture's own.
    for (let at = 2; view.getUint8(at) === 0xff; at += 2 + view.getUint16(at + 2)) {
      if (view.getUint8(at + 1) === 0xda) return 1;
      const isExif = view.getUint8(at + 1) === 0xe1 && view.getUint32(at + 4) === 0x45786966;
      if (isExif) return readTag(view, at + 10);
    }
  } catch (error) {
    // A length that points past the end: the decoder judges the picture, EXIF is only a hint.
    if (!(error instanceof RangeError)) throw error;
  }
  return 1;
}

function readTag(view: DataView, tiff: number): number {
  const isLittleEndian = view.getUint16(tiff) === 0x4949;
  const directory = tiff + view.getUint32(tiff + 4, isLittleEndian);
  const entries = view.getUint16(directory, isLittleEndian);
  for (let index = 0; index < entries; index++) {
    const entry = directory + 2 + index * 12;
    if (view.getUint16(entry, isLittleEndian) !== 0x0112) continue;
    const orientation = view.getUint16(entry + 8, isLittleEndian);
    return orientation >= 1 && orientation <= 8 ? orientation : 1;
  }
  return 1;
}

/** Whether upright means that width and height change places. */
export function isTurned(orientation: number): boolean {
  return orientation >= 5;
}

/** The picture turned and mirrored so that orientation 1 holds. */
export function turnUpright(source: Picture, orientation: number): Picture {
  if (orientation === 1) return source;
  const isAside = isTurned(orientation);
  const width = isAside ? source.height : source.width;
  const height = isAside ? source.width : source.height;
  const isFlippedX = [2, 3, 7, 8].includes(orientation);
  const isFlippedY = [3, 4, 6, 7].includes(orientation);
  const data = new Uint8Array(source.data.length);

  let at = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const column = isAside ? y : x;
      const row = isAside ? x : y;
      const sourceX = isFlippedX ? source.width - 1 - column : column;
      const sourceY = isFlippedY ? source.height - 1 - row : row;
      const from = (sourceY * source.width + sourceX) * 4;
      data.set(source.data.subarray(from, from + 4), at);
      at += 4;
    }
  }
  return { width, height, data };
}
