// The API key: requested if the service needs one, and kept for this tab's session only.

const NAME = "skyspotter-key";
const dialog = document.getElementById("key");
const field = document.getElementById("key-value");
let asking = null;

export const key = () => sessionStorage.getItem(NAME);

export const keyHeaders = () => (key() ? { "X-API-Key": key() } : {});

// An error message without the backticks that it has for the documentation.
export const plain = (sentence) => sentence.replaceAll("`", "");

// Asks once, even if several photos need the key. Resolves to whether one was entered.
export function askForKey(detail) {
  asking ??= new Promise((done) => {
    const refused = key() ? "This key was refused. " : "";
    const [asked] = plain(detail).split(/(?<=\.) /); // the rest says how to send it, which the page does
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
