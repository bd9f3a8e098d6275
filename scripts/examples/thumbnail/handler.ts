// A JPEG in, a smaller JPEG out.
import jpeg from 'jpeg-js';
import { isTurned, readOrientation, turnUpright } from './orientation.ts';
import { scaleDown } from './scale.ts';

const DEFAULT_WIDTH = 160;
const MAX_WIDTH = 2048;
const QUALITY = 82;

/**
 * Bounds for what a picture may unfold to: 12 megapixels take 690 MiB in all, 1024 is what
 * defaas.json asks for.
 */
const DECODER = { useTArray: true, maxResolutionInMP: 16, maxMemoryUsageInMB: 512 } as const;

export default async function thumbnail(request: Request): Promise<Response> {
  if (request.method !== 'POST' && request.method !== 'PUT') {
    return refuse(405, 'POST a JPEG', { allow: 'POST, PUT' });
  }
  const width = Number(new URL(request.url).searchParams.get('width') ?? DEFAULT_WIDTH);
  if (!Number.isInteger(width) || width < 1 || width > MAX_WIDTH) {
    return refuse(400, `width must be a whole number from 1 to ${MAX_WIDTH}`);
  }
  const bytes = new Uint8Array(await request.arrayBuffer());
  if (bytes.length === 0) return refuse(400, 'the body is empty, send a JPEG');
  if (!isJpeg(bytes)) return refuse(415, 'the body is not a JPEG', { accept: 'image/jpeg' });

  try {
    const picture = jpeg.decode(bytes, DECODER);
    const orientation = readOrientation(bytes);
    // Turning swaps the sides; it is done last, when there is little left to turn.
    const uprightWidth = isTurned(orientation) ? picture.height : picture.width;
    const scaled = scaleDown(picture, width / uprightWidth);
    const small = jpeg.encode(turnUpright(scaled, orientation), QUALITY);
    return new Response(new Uint8Array(small.data), {
      headers: {
        'content-type': 'image/jpeg',
        'thumbnail-size': `${small.width}x${small.height}`,
      },
    });
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return refuse(400, `the JPEG cannot be read: ${reason}`);
  }
}

function isJpeg(bytes: Uint8Array): boolean {
  return bytes[0] === 0xff && bytes[1] === 0xd8 && bytes[2] === 0xff;
}

function refuse(status: number, error: string, headers: HeadersInit = {}): Response {
  return Response.json({ error }, { status, headers });
}
