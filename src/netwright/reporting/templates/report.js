(function () {
  "use strict";
  var root = document.documentElement, key = "netwright-theme", tip, pinned = null;

  function remembered() { try { return localStorage.getItem(key); } catch (error) { return null; } }
  function remember(theme) { try { localStorage.setItem(key, theme); } catch (error) { /* not for files, then */ } }
  if (/^(light|dark)$/.test(remembered() || "")) root.dataset.theme = remembered();

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  function themes() {
    var button = document.getElementById("theme");
    function label() { button.textContent = isDark() ? "Light" : "Dark"; }
    button.hidden = false;
    button.addEventListener("click", function () {
      root.dataset.theme = isDark() ? "light" : "dark";
      remember(root.dataset.theme);
      label();
    });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", label);
    label();
  }

  // ---- the tip: rows of [name, value] or one text, only ever as text

  function show(event, head, rows) {
    tip.replaceChildren();
    if (head) { var bold = document.createElement("b"); bold.textContent = head; tip.append(bold); }
    rows.forEach(function (row) {
      var line = document.createElement("div");
      row.forEach(function (text) { var span = document.createElement("span"); span.textContent = text; line.append(span); });
      tip.append(line);
    });
    tip.hidden = false;
    var box = tip.getBoundingClientRect(), x = event.clientX + 14, y = event.clientY - box.height - 12;
    if (x + box.width > innerWidth - 8) x = Math.max(8, event.clientX - box.width - 14);
    if (y < 8) y = event.clientY + 18;
    tip.style.transform = "translate(" + Math.round(x) + "px," + Math.round(y) + "px)";
  }
  function hide() { tip.hidden = true; if (pinned) { pinned(); pinned = null; } }

  // ---- titles of cells, dots and columns, faster than the browser's own and also by touch

  function titled(target) {
    if (!target.closest) return null;
    var cell = target.closest(".matrix [title], .matrix [data-tip], .classes th[title], .classes th[data-tip], .map [title], .map [data-tip], .fine [title], .fine [data-tip]");
    if (cell) {
      if (cell.title) { cell.dataset.tip = cell.title; cell.removeAttribute("title"); }
      return cell.dataset.tip;
    }
    var shape = target.closest(".points circle, .column"), title = shape && shape.querySelector("title");
    if (title) { shape.dataset.tip = title.textContent; title.remove(); }
    return shape ? shape.dataset.tip : null;
  }

  // ---- lines: the values at the nearest place

  function place(svg, event) {
    var box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
    return [(event.clientX - box.left) / box.width * view.width, (event.clientY - box.top) / box.height * view.height];
  }
  function nearest(points, x) {
    return points.reduce(function (best, point) { return Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best; });
  }
  function element(name, attributes) {
    var made = document.createElementNS(document.querySelector("svg").namespaceURI, name);
    Object.keys(attributes).forEach(function (each) { made.setAttribute(each, attributes[each]); });
    return made;
  }
  function readLines(svg, event) {
    var data = svg.readings || (svg.readings = JSON.parse(svg.dataset.lines));
    var x = place(svg, event)[0], at = nearest(data[1][data[1].length - 1][2], x), view = svg.viewBox.baseVal;
    var rows = data[1].map(function (line) {
      var point = nearest(line[2], at[0]);
      return Math.abs(point[0] - at[0]) < 4 ? [line[0], point[3]] : null;
    }).filter(Boolean);
    if (!svg.cross) { svg.cross = element("path", { "class": "cross" }); svg.append(svg.cross); }
    svg.cross.setAttribute("d", "M" + at[0] + " 14V" + (view.height - 40));
    show(event, data[0] + " " + at[2].toLocaleString("en").replace(/,/g, "\u202f"), rows);
    pinned = function () { svg.cross.setAttribute("d", ""); };
  }

  // ---- the picture of a confusion matrix

  function readMatrix(svg, event) {
    var data = svg.readings || (svg.readings = JSON.parse(svg.dataset.matrix));
    var at = place(svg, event), column = Math.floor((at[0] - data[0]) / data[1]), row = Math.floor((at[1] - data[0]) / data[1]);
    var counts = data[3][row], names = data[2];
    if (!counts || counts[column] === undefined) { hide(); return; }
    var total = counts.reduce(function (sum, value) { return sum + value; }, 0), value = counts[column];
    if (!svg.cross) { svg.cross = element("rect", { "class": "here" }); svg.append(svg.cross); }
    svg.cross.setAttribute("x", data[0] + column * data[1]);
    svg.cross.setAttribute("y", data[0] + row * data[1]);
    svg.cross.setAttribute("width", data[1]);
    svg.cross.setAttribute("height", data[1]);
    var share = total ? " (" + (100 * value / total).toFixed(1) + " %)" : "";
    show(event, names[row] + (row === column ? " found" : " taken for " + names[column]), [[value + " of " + total + share]]);
    pinned = function () { svg.cross.setAttribute("width", 0); };
  }

  // ---- the maps of layers and steps

  function readMap(svg, event) {
    var table = svg.closest("table"), data = table.readings || (table.readings = JSON.parse(table.dataset.map));
    var box = svg.getBoundingClientRect(), row = svg.closest("tr").rowIndex, steps = data[2];
    var column = Math.max(0, Math.min(steps.length - 1, Math.floor((event.clientX - box.left) / box.width * steps.length)));
    var value = data[4][row][column], text = value === null ? "not a number, or not looked at" : Number(value.toPrecision(3)) + "";
    if (!svg.cross) { svg.cross = element("rect", { "class": "here", y: 0, height: 1 }); svg.append(svg.cross); }
    svg.cross.setAttribute("x", column);
    svg.cross.setAttribute("width", 1);
    show(event, data[3][row], [["step " + steps[column], ""], [data[0], text + (data[1] && value !== null ? " " + data[1] : "")]]);
    pinned = function () { svg.cross.setAttribute("width", 0); };
  }

  function follow(event) {
    var strip = event.target.closest && event.target.closest(".map td > svg");
    if (strip) { if (pinned) { pinned(); pinned = null; } readMap(strip, event); return; }
    var svg = event.target.closest && event.target.closest("svg.chart"), text = titled(event.target);
    if (text) show(event, "", [[text]]);
    else if (svg && svg.dataset.lines) readLines(svg, event);
    else if (svg && svg.dataset.matrix) readMatrix(svg, event);
    else if (tip && !tip.hidden) hide();
  }

  document.addEventListener("DOMContentLoaded", function () {
    tip = document.getElementById("tip");
    themes();
    document.querySelectorAll("svg[data-lines] title").forEach(function (title) { title.remove(); });
    document.addEventListener("pointermove", follow);
    document.addEventListener("pointerdown", follow);
    document.addEventListener("scroll", function () { if (!tip.hidden) hide(); }, { passive: true });
    document.addEventListener("keydown", function (event) { if (event.key === "Escape") hide(); });
    addEventListener("beforeprint", function () {
      document.querySelectorAll("details").forEach(function (each) { each.dataset.was = each.open ? "1" : ""; each.open = true; });
    });
    addEventListener("afterprint", function () {
      document.querySelectorAll("details").forEach(function (each) { each.open = each.dataset.was === "1"; });
    });
  });
})();
