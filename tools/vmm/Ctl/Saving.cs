using System.Globalization;
using System.Text.Json;
using Vmm.Devices;

namespace Vmm.Tool;

/// <summary>Has another <c>vmm</c> save its machine, and shows how far it is when that takes long.</summary>
internal static class Saving
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    /// <exception cref="IOException">It was refused, or went wrong there.</exception>
    internal static SnapshotView Run(CtlClient client, NewSnapshot asked)
    {
        byte[] body = JsonSerializer.SerializeToUtf8Bytes(asked, ApiJson.Readable.NewSnapshot);
        Task<SnapshotView> saving = Task.Run(() => client.Do(HttpMethod.Post, "/v1/machine/snapshot", ApiJson.Readable.SnapshotView, body));
        ProgressLine line = new(TimeSpan.Zero, "saving");
        while (!((IAsyncResult)saving).AsyncWaitHandle.WaitOne(Patience))
        {
            if (!Console.IsErrorRedirected && ProgressOf(client) is { } progress)
                line.Report(new SnapshotProgress((ulong)progress.BytesDone, (ulong)progress.BytesTotal));
        }
        line.End();
        return saving.GetAwaiter().GetResult();
    }

    /// <summary>Says what was done.</summary>
    internal static void Print(SnapshotView saved) => Console.Out.WriteLine(Printable.Of(string.Create(CultureInfo.InvariantCulture,
        $"{saved.Directory}: {saved.BytesWritten >> 20} MiB in {saved.ElapsedSeconds:0.00} s; the guest stood still for "
        + $"{1000 * saved.StoppedSeconds:0.0} ms") + (saved.DiskBytesCopied == 0 ? "" : string.Create(CultureInfo.InvariantCulture,
            $"; {saved.DiskBytesCopied >> 20} MiB of disks were copied meanwhile, since their file system cannot share blocks"))));

    private static SnapshotProgressView? ProgressOf(CtlClient client)
    {
        try
        {
            return client.Get("/v1/machine", ApiJson.Readable.MachineView).Saving;
        }
        catch (IOException)
        {
            // It is about to end: the save itself says how.
            return null;
        }
    }
}
