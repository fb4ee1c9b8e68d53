// A batch of scored images: the histogram, the highest scores, a table to sort and filter. It stands behind explorer.js.
const SIZE = 50, within = id => document.getElementById(id), {rows, scores, shown, threshold} = DATA;
const nameOf = ({file, slice}) => slice == null ? file : `${file}, slice ${slice}`;

const chart_of = histogram(within("histogram"), {colours: ["second", "normal"], label: `Histogram of ${DATA.score}`, beside: "% of each", shares: true});
const every = [...scores, ...DATA.held_out, ...threshold == null ? [] : [threshold]];
chart_of.show([scores, DATA.held_out], every.length ? extent(every) : [0, 1], DATA.score, 30);
chart_of.mark(threshold);

// the highest scores, and one of them in a dialog
if (shown.length) {
  const maps = h("input", {type: "checkbox", checked: true, onchange: () => tiles.grid.classList.toggle("maps", maps.checked)});
  const tiles = gallery({size: 60, pick: (shown, n) => open(n),
    draw: ({image, overlay}, holder) => holder.replaceChildren(h("img", {src: image, alt: ""}), h("img", {src: overlay, alt: ""})),
    about: ({row}, n) => ({label: nameOf(rows[row]), frame: rows[row].abnormal ? "abnormal" : "",
                           lines: [`${n + 1}. ${number(rows[row].score)}`, nameOf(rows[row]).split("/").pop()]})});
  tiles.grid.classList.add("maps");
  within("highest").append(
    h("p", {className: "bar"}, ...tiles.bar, h("label", {}, maps, " maps over the images"), h("span", {className: "note"}, "point at an image to swap; click it for both")), tiles.grid);
  tiles.show(shown);
  const dialog = h("dialog", {"aria-labelledby": "name", onkeydown: event => step({ArrowLeft: -1, ArrowRight: 1}[event.key]), onclick: event => event.target == dialog && dialog.close()});
  document.body.append(dialog);
  let one = 0;
  const step = by => by && one + by in shown && open(one + by);
  const panel = (src, name) => h("figure", {}, h("div", {className: "stack"}, h("img", {src, alt: name})), h("figcaption", {}, name));
  function open(n) {
    const row = rows[shown[one = n].row], p = row.p_value == null ? "" : `, p = ${number(row.p_value)}`;
    const side = row.abnormal == null ? "" : `; ${row.abnormal ? "above" : "not above"} the threshold ${number(threshold)}`;
    const button = (text, act, disabled) => h("button", {onclick: act, disabled}, text);
    dialog.replaceChildren(
      h("h2", {id: "name"}, nameOf(row)), h("p", {id: "told"}, `${DATA.score} ${number(row.score)}${p}${side}`),
      h("div", {className: "panels"}, panel(shown[n].image, "image"), panel(shown[n].overlay, "map over the image")),
      h("p", {className: "bar"}, button("‹ previous", () => step(-1), n == 0), button("next ›", () => step(1), n == shown.length - 1), button("close", () => dialog.close())));
    if (!dialog.open) dialog.showModal();
  }
}

// the table: numbers by size, texts by the alphabet, what is missing always last
let sorted = "score", down = true, first = 0;
const words = h("input", {type: "search", size: 14, placeholder: "part of a name", oninput: () => list(0)});
const flagged = choice("Show", () => list(0)), place = h("span", {id: "place"}), scroll = h("div", {className: "scroll"});
const back = h("button", {onclick: () => list(first - SIZE)}, "‹ previous"), forward = h("button", {onclick: () => list(first + SIZE)}, "next ›");
flagged.show(threshold == null ? [] : [["", "all"], ["1", "above the threshold"], ["0", "not above it"]], "");
within("all").append(h("div", {className: "bar"}, h("label", {}, "Name ", words), flagged.box, back, place, forward), scroll);

function compare(a, b) {
  if (a == null || b == null) return (a == null) - (b == null);
  const order = typeof a == "number" && typeof b == "number" ? a - b : String(a).localeCompare(String(b), undefined, {numeric: true});
  return down ? -order : order;
}

function cell(value, column) {
  if (column == "abnormal" && value != null) return value ? "yes" : "no";
  return typeof value == "number" ? number(value) : String(value ?? "");
}

function list(from) {
  const wanted = words.value.trim().toLowerCase(), side = flagged.select.value;
  const fits = rows.filter(row => row.file.toLowerCase().includes(wanted) && (!side || row.abnormal == side)).sort((a, b) => compare(a[sorted], b[sorted]));
  first = from;
  const sort = column => {
    down = sorted == column ? !down : ["score", "abnormal"].includes(column);
    sorted = column;
    list(0);
  };
  const head = DATA.columns.map(c => h("button", {onclick: () => sort(c)}, `${c.replace("_", " ")} ${sorted == c ? (down ? "↓" : "↑") : ""}`));
  const made = table("", head, fits.slice(first, first + SIZE).map(row => DATA.columns.map(c => cell(row[c], c))), 0);
  made.id = "rows";
  made.querySelectorAll("thead th").forEach((th, i) => th.setAttribute("aria-sort", sorted != DATA.columns[i] ? "none" : down ? "descending" : "ascending"));
  scroll.replaceChildren(made);
  place.textContent = fits.length ? `${first + 1} – ${Math.min(first + SIZE, fits.length)} of ${fits.length}` : "none";
  back.disabled = first == 0;
  forward.disabled = first + SIZE >= fits.length;
}

list(0);
