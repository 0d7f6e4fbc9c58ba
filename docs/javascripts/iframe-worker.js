// A browser starts no worker on a page that was opened from a folder. The script of the search then runs in a hidden
// frame instead. Without a script of this name in `extra.polyfills`, the theme loads one from the network.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const element = document.createElement("iframe")
      element.hidden = true
      document.body.append(element)
      this.frame = element.contentWindow
      this.ready = new Promise(loaded => {
        const page = this.frame.document
        page.open()
        page.write("<body></body>") // or Firefox replaces the page after the script was added
        page.close()
        this.frame.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
        const script = page.createElement("script")
        script.src = url
        script.onload = loaded
        page.body.append(script)
      })
    }

    postMessage(data) {
      this.ready.then(() => this.frame.dispatchEvent(new MessageEvent("message", { data })))
    }
  }
}
