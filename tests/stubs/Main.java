import io.grpc.ManagedChannel;
import io.grpc.ManagedChannelBuilder;
import io.logitd.v1.GetServerInfoRequest;
import io.logitd.v1.ServerServiceGrpc;

/** Prints the version of the server at ADDRESS (argument 1), with the generated stubs alone. */
public final class Main {
  private Main() {}

  public static void main(String[] arguments) {
    ManagedChannel channel = ManagedChannelBuilder.forTarget(arguments[0]).usePlaintext().build();
    try {
      System.out.println(
          ServerServiceGrpc.newBlockingStub(channel)
              .getServerInfo(GetServerInfoRequest.getDefaultInstance())
              .getServerVersion());
    } finally {
      channel.shutdownNow();
    }
  }
}
