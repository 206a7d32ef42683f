module github.com/podpath/podpath/lab

go 1.26.0
