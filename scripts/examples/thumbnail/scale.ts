// Scales a picture down by averaging areas in linear light, so that fine patterns neither flicker
// nor darken.

/** RGBA, 8 bits each, row by row. */
export interface Picture {
  readonly width: number;
  readonly height: number;
  readonly data: Uint8Array;
}

/** Linear light of each sRGB value (IEC 61966-2-1), 0 to 1. */
const LIGHT = Float32Array.from({ length: 256 }, (_, value) => {
  const share = value / 255;
  return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
});

/** sRGB of 4096 steps of light; finer than the 8 bits it is rounded to. */
const STEPS = 4095;
const SRGB = Uint8Array.from({ length: STEPS + 1 }, (_, step) => {
  const light = step / STEPS;
  const share = light <= 0.0031308 ? light * 12.92 : 1.055 * light ** (1 / 2.4) - 0.055;
  return Math.round(share * 255);
});

/** The picture at this share of its size, 0 to 1; at 1 and above it comes back as it is. */
export function scaleDown(source: Picture, factor: number): Picture {
  if (factor >= 1) return source;
  const width = Math.max(1, Math.round(source.width * factor));
  const height = Math.max(1, Math.round(source.height * factor));
  const columns = spans(source.width, width);
  const rows = spans(source.height, height);
  const data = new Uint8Array(width * height * 4);

  // One sum per colour and output column; source rows are read once each, in order.
  const line = new Float32Array(width * 3);
  const sums = new Float32Array(width * 3);
  for (const [y, row] of rows.entries()) {
    sums.fill(0);
    for (const [index, share] of row.shares.entries()) {
      averageLine(source, row.first + index, columns, line);
      for (let i = 0; i < sums.length; i++) sums[i] += line[i] * share;
    }
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 4;
      for (let colour = 0; colour < 3; colour++) {
        data[at + colour] = SRGB[Math.round(sums[x * 3 + colour] * STEPS)];
      }
      data[at + 3] = 255;
    }
  }
  return { width, height, data };
}

interface Span {
  readonly first: number;
  /**
   * How much of each source pixel from `first` on belongs to the output pixel; they add up to 1.
   */
  readonly shares: readonly number[];
}

function spans(from: number, to: number): Span[] {
  const step = from / to;
  return Array.from({ length: to }, (_, index) => {
    const start = index * step;
    const end = Math.min(from, start + step);
    const first = Math.floor(start);
    const shares: number[] = [];
    for (let pixel = first; pixel < end; pixel++) {
      shares.push((Math.min(end, pixel + 1) - Math.max(start, pixel)) / (end - start));
    }
    return { first, shares };
  });
}

function averageLine(source: Picture, y: number, columns: readonly Span[], line: Float32Array) {
  let out = 0;
  for (const { first, shares } of columns) {
    let at = (y * source.width + first) * 4;
    let red = 0;
    let green = 0;
    let blue = 0;
    for (const share of shares) {
      red += LIGHT[source.data[at]] * share;
      green += LIGHT[source.data[at + 1]] * share;
      blue += LIGHT[source.data[at + 2]] * share;
      at += 4;
    }
    line[out++] = red;
    line[out++] = green;
    line[out++] = blue;
  }
}
