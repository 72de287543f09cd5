// A photo drawn as the service looks at it: its first frame, upright.

// Whether this browser turns a format upright is tried on a picture of 2 x 1 pixels that its EXIF
// lays on its side. All browsers turn JPEG and AVIF.
const LYING = {
  PNG: "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAIAAAB7QOjdAAAAGmVYSWZNTQAqAAAACAABARIAAwAAAAEABgAAAAAAANZnS2kAAAAPSURBVHjaY2BgYGBgYAAAAAcAAe5a3l4AAAAASUVORK5CYII=",
  WebP: "UklGRk4AAABXRUJQVlA4WAoAAAAIAAAAAQAAAAAAVlA4TA4AAAAvAQAAAAcQEf0PRET/A0VYSUYaAAAATU0AKgAAAAgAAQESAAMAAAABAAYAAAAAAAA=",
};

// Where each EXIF orientation takes the corners of a square with sides of 1.
const TURNS = {
  2: [-1, 0, 0, 1, 1, 0], 3: [-1, 0, 0, -1, 1, 1], 4: [1, 0, 0, -1, 0, 1], 5: [0, 1, 1, 0, 0, 0],
  6: [0, 1, -1, 0, 1, 0], 7: [0, -1, -1, 0, 1, 1], 8: [0, -1, 1, 0, 0, 1],
};

async function turns(format) {
  if (!LYING[format]) return true;
  const bytes = Uint8Array.from(atob(LYING[format]), (letter) => letter.charCodeAt(0));
  return (await createImageBitmap(new Blob([bytes]))).width === 1;
}

// A canvas of at most `longest` pixels a side; fails where the browser cannot read the file. Before
// there is an answer, nothing is known of how the photo lies but what the browser does by itself.
export async function draw({ file, answer }, longest) {
  const bitmap = await createImageBitmap(file);
  const { orientation = 1, format } = answer?.image ?? {};
  const turn = orientation > 1 && !(await turns(format)) ? orientation : 1;
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
