// Hello answers every request with a greeting. Browsers get a page, everything else plain text.
package main

import (
	"fmt"
	"html/template"
	"log"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"
)

var (
	started  = time.Now()
	requests atomic.Int64
)

func hello(w http.ResponseWriter, r *http.Request) {
	count := requests.Add(1)
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		fmt.Fprintln(w, "Hello World")
		return
	}
	// Read on each request, so that a change of the page shows without a restart.
	page, err := template.ParseFiles("page.html")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	err = page.Execute(w, map[string]any{
		"Method": r.Method,
		"Path":   r.URL.Path,
		"Count":  count,
		"Uptime": time.Since(started).Round(time.Second),
		"Go":     runtime.Version(),
	})
	if err != nil {
		log.Print(err)
	}
}

// version tells the page when its file was last written; it asks now and then and reloads.
func version(w http.ResponseWriter, _ *http.Request) {
	info, err := os.Stat("page.html")
	if err != nil {
		http.Error(w, "no page", http.StatusNotFound)
		return
	}
	fmt.Fprint(w, info.ModTime().UnixNano())
}

func main() {
	http.HandleFunc("/", hello)
	http.HandleFunc("/version", version)
	log.Print("listening on http://localhost:3000")
	log.Fatal(http.ListenAndServe("0.0.0.0:3000", nil))
}
