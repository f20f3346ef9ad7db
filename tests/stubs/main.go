// Prints the version of the server at ADDRESS (argument 1), with the generated stubs alone.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	logitdv1 "github.com/logitd/logitd/gen/go/logitd/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	connection, err := grpc.Dial(os.Args[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err == nil {
		var info *logitdv1.GetServerInfoResponse
		info, err = logitdv1.NewServerServiceClient(connection).GetServerInfo(ctx, &logitdv1.GetServerInfoRequest{})
		fmt.Println(info.GetServerVersion())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
