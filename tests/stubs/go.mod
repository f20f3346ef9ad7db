// Compiles main.go against the stubs that scripts/test-stubs generates, with their pinned generators and libraries.
module github.com/logitd/logitd/tests/stubs

// Debian 12's.
go 1.19

require (
	github.com/logitd/logitd/gen/go v0.0.0
	google.golang.org/grpc v1.56.3
	google.golang.org/grpc/cmd/protoc-gen-go-grpc v1.3.0
	google.golang.org/protobuf v1.31.0
)

require (
	github.com/golang/protobuf v1.5.3 // indirect
	golang.org/x/net v0.9.0 // indirect
	golang.org/x/sys v0.7.0 // indirect
	golang.org/x/text v0.9.0 // indirect
	google.golang.org/genproto v0.0.0-20230410155749-daa745c078e1 // indirect
)

replace github.com/logitd/logitd/gen/go => ./gen/go/github.com/logitd/logitd/gen/go
