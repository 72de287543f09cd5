// The API key: asked for when the service wants one, kept for this tab's session alone.

const NAME = "skyspotter-key";
const dialog = document.getElementById("key");
const field = document.getElementById("key-value");
let asking = null;

export const key = () => sessionStorage.getItem(NAME);

export const keyHeaders = () => (key() ? { "X-API-Key": key() } : {});

// The service's own words, without the marks that they have for documentation.
export const plain = (sentence) => sentence.replaceAll("`", "");

// Several photos may need it at once: they share one question. Answers whether a key was given.
export function askForKey(detail) {
  asking ??= new Promise((done) => {
    const refused = key() ? "This key was refused. " : "";
    const [asked] = plain(detail).split(/(?<=\.) /); // how to send it is the page's business
    document.getElementById("key-detail").textContent = refused + asked;
    field.value = "";
    dialog.returnValue = "";
    dialog.showModal();
    dialog.addEventListener("close", () => {
      asking = null;
      const given = dialog.returnValue === "use" && field.value.trim();
      if (given) sessionStorage.setItem(NAME, given);
      field.value = "";
      done(Boolean(given));
    }, { once: true });
  });
  return asking;
}
