// Adds the server's token to requests, and asks the visitor for it once. Only this tab keeps it.
const KEY = "jdann-token";
const $ = (id) => document.getElementById(id);

export async function request(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = token ? { ...options.headers, Authorization: `Bearer ${token}` } : options.headers;
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) return response;
    sessionStorage.setItem(KEY, await asked(Boolean(token)));
  }
}

// What the visitor enters; `wrong`: the last token was not that of the server.
function asked(wrong) {
  $("token").value = "";
  $("token-wrong").hidden = !wrong;
  $("token-dialog").showModal();
  return new Promise((resolve) => {
    // Escape closes a dialog, but without a token the page is of no use.
    $("token-dialog").onclose = () => $("token-dialog").showModal();
    $("token-form").onsubmit = (event) => {
      event.preventDefault();
      const token = $("token").value.trim();
      $("token").value = "";
      if (!/^[!-~]+$/.test(token)) return void ($("token-wrong").hidden = false); // no header can hold it
      $("token-dialog").onclose = null;
      $("token-dialog").close();
      resolve(token);
    };
  });
}
