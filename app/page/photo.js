// Draws a photo as the service reads it: its first frame, upright.

// Images of 2 x 1 pixels with an EXIF orientation of 90 degrees: their width shows whether this
// browser applies the orientation for a format. All browsers do so for JPEG and AVIF.
const ROTATED = {
  PNG: "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAGmVYSWZNTQAqAAAACAABARIAAwAAAAEABgAAAAAAANZnS2kAAAAPSURBVHjaY2BgYGBgYAAAAAcAAe5a3l4AAAAASUVORK5CYII=",
  WebP: "UklGRk4AAABXRUJQVlA4WAoAAAAIAAAAAQAAAAAAVlA4TA4AAAAvAQAAAAcQEf0PRET/A0VYSUYaAAAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA=",
};

// The transform of the unit square for each EXIF orientation.
const TURNS = {
  2: [-1, 0, 0, 1, 1, 0], 3: [-1, 0, 0, -1, 1, 1], 4: [1, 0, 0, -1, 0, 1], 5: [0, 1, 1, 0, 0, 0],
  6: [0, 1, -1, 0, 1, 0], 7: [0, -1, -1, 0, 1, 1], 8: [0, -1, 1, 0, 0, 1],
};

async function appliesOrientation(format) {
  if (!ROTATED[format]) return true;
  const bytes = Uint8Array.from(atob(ROTATED[format]), (letter) => letter.charCodeAt(0));
  return (await createImageBitmap(new Blob([bytes]))).width === 1;
}

// Returns a canvas of at most `longest` pixels per side; fails if the browser cannot read the file.
// The orientation comes from the answer; before there is one, only the browser's own is applied.
export async function draw({ file, answer }, longest) {
  const bitmap = await createImageBitmap(file);
  const { orientation = 1, format } = answer?.image ?? {};
  const turn = orientation > 1 && !(await appliesOrientation(format)) ? orientation : 1;
  const sides = turn < 5 ? [bitmap.width, bitmap.height] : [bitmap.height, bitmap.width];
  const scale = Math.min(1, longest / Math.max(...sides));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = sides.map((side) => Math.max(1, Math.round(side * scale)));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.scale(canvas.width, canvas.height);
  if (turn > 1) context.transform(...TURNS[turn]);
  context.drawImage(bitmap, 0, 0, 1, 1);
  bitmap.close();
  return canvas;
}
