import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;
import java.net.http.WebSocket;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;

/** Prints what a URL answers, or what comes back for a word: `java Talk.java URL WORD`. */
class Talk {
    public static void main(String[] arguments) throws Exception {
        URI url = URI.create(arguments[0]);
        HttpClient client = HttpClient.newHttpClient();
        if (url.getScheme().equals("https")) {
            System.out.println(client.send(HttpRequest.newBuilder(url).build(), BodyHandlers.ofString()).body());
            return;
        }
        CompletableFuture<String> echo = new CompletableFuture<>();
        WebSocket socket = client.newWebSocketBuilder().buildAsync(url, new WebSocket.Listener() {
            @Override
            public CompletionStage<?> onText(WebSocket from, CharSequence text, boolean last) {
                echo.complete(text.toString());
                return null;
            }
        }).get(20, TimeUnit.SECONDS);
        socket.sendText(arguments[1], true).get(20, TimeUnit.SECONDS);
        System.out.println(echo.get(20, TimeUnit.SECONDS));
        socket.sendClose(WebSocket.NORMAL_CLOSURE, "").get(20, TimeUnit.SECONDS);
    }
}
