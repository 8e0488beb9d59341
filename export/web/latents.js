// From image seeds to latents; the law is stated in Mirage's serving/contract/latents.py. Depends on nothing.

const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24];

// Threefry-2x32 with 20 rounds of the counter (j, 0); numbers are unsigned 32-bit.
function threefry(low, high, j) {
  const keys = [low, high, (low ^ high ^ 0x1bd11bda) >>> 0];
  let x0 = (j + low) >>> 0;
  let x1 = high;
  for (let round = 0; round < 20; round++) {
    const bits = ROTATIONS[round % 8];
    x0 = (x0 + x1) >>> 0;
    x1 = (((x1 << bits) | (x1 >>> (32 - bits))) ^ x0) >>> 0;
    if (round % 4 === 3) {
      const injection = (round >> 2) + 1;
      x0 = (x0 + keys[injection % 3]) >>> 0;
      x1 = (x1 + keys[(injection + 1) % 3] + injection) >>> 0;
    }
  }
  return [x0, x1];
}

// The latent of a seed (a BigInt), as a Float32Array; distribution is the model's latent_distribution.
export function latent(seed, size, distribution) {
  const bits = BigInt.asUintN(64, seed);
  const low = Number(bits & 0xffffffffn);
  const high = Number(bits >> 32n);
  const z = new Float32Array(size);
  for (let j = 0; 2 * j < size; j++) {
    const [x0, x1] = threefry(low, high, j);
    if (distribution === "uniform") {
      z[2 * j] = ((x0 >>> 8) + 0.5) * 2 ** -23 - 1;
      if (2 * j + 1 < size) z[2 * j + 1] = ((x1 >>> 8) + 0.5) * 2 ** -23 - 1;
      continue;
    }
    const radius = Math.sqrt(-2 * Math.log(((x0 >>> 8) + 0.5) * 2 ** -24));
    const turns = (x1 >>> 8) * 2 ** -24;
    z[2 * j] = radius * Math.sin((turns + 0.25) * 2 * Math.PI);
    if (2 * j + 1 < size) z[2 * j + 1] = radius * Math.sin(turns * 2 * Math.PI);
  }
  return z;
}

// A walk from latent a, at t = 0, to b, at t = 1, through latents that the generator knows.
export function between(a, b, t, distribution) {
  return distribution === "uniform" ? a.map((value, i) => (1 - t) * value + t * b[i]) : slerp(a, b, t);
}

// Spherical linear interpolation (Shoemake 1985) from a, at t = 0, to b, at t = 1.
function slerp(a, b, t) {
  const dot = (x, y) => x.reduce((sum, value, i) => sum + value * y[i], 0);
  const cosine = dot(a, b) / Math.max(Math.sqrt(dot(a, a) * dot(b, b)), Number.MIN_VALUE);
  const angle = Math.acos(Math.min(1, Math.max(-1, cosine)));
  const straight = Math.sin(angle) < 1e-6;
  const [from, to] = straight
    ? [1 - t, t]
    : [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)];
  return a.map((value, i) => from * value + to * b[i]);
}

// Pictures in [-1, 1] to bytes, rounding half to even as the other runtimes do; alpha is the model's, undefined where
// pictures have none. The law is stated in Mirage's serving/contract/pixels.py.
export function toPixels(image, alpha) {
  const pixels = Uint8Array.from(image, (value) => {
    const scaled = Math.min(255, Math.max(0, Math.fround(Math.fround(value + 1) * 127.5)));
    const floor = Math.floor(scaled);
    const rest = scaled - floor;
    return floor + (rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? 1 : 0);
  });
  return alpha === "premultiplied" ? straight(pixels) : pixels;
}

// Takes alpha out of premultiplied RGBA bytes, in place.
function straight(pixels) {
  for (let i = 0; i < pixels.length; i += 4) {
    const a = pixels[i + 3];
    for (let c = i; c < i + 3; c++) pixels[c] = a && Math.floor((255 * Math.min(pixels[c], a) + (a >> 1)) / a);
  }
  return pixels;
}
