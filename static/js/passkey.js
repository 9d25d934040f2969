// Asks the browser for a passkey and puts its answer into the form, which is then sent like any other.
const form = document.querySelector("form[data-passkey]");
if (form) setUp(form);

function setUp(form) {
  const problem = form.querySelector("[data-passkey-problem]");
  const say = (text) => {
    problem.querySelector("span").textContent = text;
    problem.hidden = false;
  };
  const { origin } = form.dataset;
  if (!window.PublicKeyCredential) say("This browser has no passkeys.");
  else if (location.origin !== origin) {
    // A passkey belongs to a name: the same page under another name does not have it.
    say("Passkeys of this installation are used at ");
    const link = document.createElement("a");
    link.href = origin + location.pathname + location.search;
    link.textContent = origin;
    problem.querySelector("span").append(link, ".");
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const options = JSON.parse(form.dataset.options).publicKey;
    try {
      const credential =
        form.dataset.passkey === "create"
          ? await navigator.credentials.create({ publicKey: creation(options) })
          : await navigator.credentials.get({ publicKey: request(options) });
      form.elements.answer.value = JSON.stringify(written(credential));
    } catch (error) {
      say(words[error.name] ?? "Your device did not give a passkey. Try again, or use another way.");
      return;
    }
    form.submit();
  });
}

const words = {
  InvalidStateError: "This device has a passkey for your account already.",
  NotAllowedError: "Your device was not asked, or said no. Try again.",
  SecurityError: "Passkeys cannot be used at this address.",
};

function creation(options) {
  return {
    ...options,
    challenge: bytes(options.challenge),
    user: { ...options.user, id: bytes(options.user.id) },
    excludeCredentials: options.excludeCredentials?.map(known),
  };
}

function request(options) {
  return { ...options, challenge: bytes(options.challenge), allowCredentials: options.allowCredentials?.map(known) };
}

function known(credential) {
  return { ...credential, id: bytes(credential.id) };
}

// As the server reads it: byte strings in base64url.
function written({ id, rawId, type, response }) {
  const fields = ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"];
  const answer = Object.fromEntries(fields.filter((name) => response[name]).map((name) => [name, base64url(response[name])]));
  if (response.getTransports) answer.transports = response.getTransports();
  return { id, rawId: base64url(rawId), type, response: answer, extensions: {} };
}

function bytes(text) {
  return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (character) => character.charCodeAt(0));
}

function base64url(buffer) {
  const text = String.fromCharCode(...new Uint8Array(buffer));
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
