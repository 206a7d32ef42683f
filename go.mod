module github.com/podpath/podpath

go 1.26.0
