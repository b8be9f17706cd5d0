using Microsoft.AspNetCore.Http;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>One client at a guest's console: what the guest prints goes out as binary frames, and what comes in is typed.</summary>
internal static class ConsoleSession
{
    /// <summary>How long a client may take for a frame; then it is cut off. How long one that is cut off has to read why.</summary>
    private static readonly TimeSpan FramePatience = TimeSpan.FromSeconds(10), ClosePatience = TimeSpan.FromSeconds(1);

    /// <summary>Serves a client until one of the ends is done.</summary>
    /// <param name="context">Its request.</param>
    /// <param name="console">The console.</param>
    /// <param name="stopping">Ends it when the server stops; what the guest printed last is shown still.</param>
    internal static async Task ServeAsync(HttpContext context, ConsoleMirror console, CancellationToken stopping)
    {
        using WebSocketBytes client = new(await WebSocketHandshake.AcceptAsync(context), isClient: false);
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(stopping, context.RequestAborted);
        Task<(int Status, string Reason)> shown = ShowAsync(client, console.Open(), end.Token);
        Task<(int Status, string Reason)> typed = TypeAsync(client, console, end.Token);
        (int Status, string Reason) why;
        try
        {
            // At the end of the server both are done, and the one that shows says so.
            Task<(int Status, string Reason)> first = await Task.WhenAny(shown, typed);
            why = await (stopping.IsCancellationRequested ? shown : first);
        }
        catch (Exception gone) when (gone is IOException or OperationCanceledException)
        {
            // The client is not there any more, or takes nothing.
            context.Abort();
            return;
        }
        finally
        {
            await end.CancelAsync();
            await Task.WhenAll(shown, typed).ContinueWith(static done => done.Exception, TaskScheduler.Default);
        }
        using CancellationTokenSource patience = new(ClosePatience);
        try
        {
            await client.CloseAsync(why.Status, why.Reason, patience.Token);
        }
        catch (Exception gone) when (gone is IOException or OperationCanceledException)
        {
            context.Abort();
        }
    }

    private static async Task<(int Status, string Reason)> ShowAsync(WebSocketBytes client, ConsoleView view, CancellationToken end)
    {
        byte[] bytes = new byte[WebSocketBytes.ChunkBytesMax];
        int last = ConsoleMirror.KeptBytes;
        while (true)
        {
            int length;
            try
            {
                length = await view.ReadAsync(bytes, end);
            }
            catch (OperationCanceledException)
            {
                length = view.Read(bytes);
            }
            if (view.IsCutOff) return (WebSocketBytes.PolicyViolation, "cut off: the guest prints faster than you read; attach again");
            if (length == 0) return (WebSocketBytes.GoingAway, "the console has ended");
            // A guest that prints without end does not hold the end up.
            if (end.IsCancellationRequested && (last -= length) < 0) return (WebSocketBytes.GoingAway, "vmm ends");
            using CancellationTokenSource patience = new(FramePatience);
            await client.WriteAsync(bytes.AsMemory(0, length), patience.Token);
        }
    }

    private static async Task<(int Status, string Reason)> TypeAsync(WebSocketBytes client, ConsoleMirror console, CancellationToken end)
    {
        byte[] bytes = new byte[WebSocketBytes.ChunkBytesMax];
        try
        {
            for (int length; (length = await client.ReadAsync(bytes, end)) > 0;) await console.TypeAsync(bytes.AsMemory(0, length), end);
            return (WebSocketBytes.NormalClosure, "");
        }
        catch (WebSocketException broken)
        {
            return (broken.Status, broken.Message);
        }
        catch (InvalidOperationException refused)
        {
            return (WebSocketBytes.PolicyViolation, refused.Message);
        }
    }
}
