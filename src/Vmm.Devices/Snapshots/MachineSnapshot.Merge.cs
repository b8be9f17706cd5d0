using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Vmm.Devices;

/// <content>A whole snapshot of a difference and what it is one to.</content>
public sealed partial class MachineSnapshot
{
    /// <summary>
    /// Writes a whole snapshot of the same moment into a new directory, which appears whole or not at all. It may take the place of this
    /// one: differences to this one are differences to it. All of the memory is compared with its checksums first.
    /// </summary>
    /// <param name="directory">It is not there yet, and its parent is.</param>
    /// <param name="progress">Learns how far it is, first with comparing, then with writing.</param>
    /// <param name="cancel">Gives it up.</param>
    /// <returns>Bytes of memory that were written: those that are no zeros.</returns>
    /// <exception cref="StateException">A byte differs; the message says where.</exception>
    /// <exception cref="IOException">The host refuses, or has no room.</exception>
    public long Merge(string directory, IProgress<SnapshotProgress>? progress = null, CancellationToken cancel = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(directory);
        using SnapshotDirectory target = SnapshotDirectory.Begin(directory);
        Verify(progress, cancel);
        using GuestMemory memory = MapMemory(Regions);
        MemoryImageWriter writer = new(target.Create(MemoryName), memory.Regions);
        writer.WriteAll(null, progress, cancel);
        byte[] state = WholeState(writer.Sums());
        target.Create(StateName, state);
        target.Create(SumName, Encoding.ASCII.GetBytes(SumOf(state) + "\n"));
        cancel.ThrowIfCancellationRequested();
        target.Commit();
        return writer.Written;
    }

    private byte[] WholeState(byte[] sums)
    {
        JsonNode state = JsonNode.Parse(_state)!;
        JsonObject memory = state["memory"]!.AsObject();
        SnapshotBase.Remove(memory);
        memory[SumsName] = Convert.ToBase64String(sums);
        using MemoryStream text = new();
        using (Utf8JsonWriter json = new(text, new JsonWriterOptions { Indented = true })) state.WriteTo(json);
        return text.ToArray();
    }
}
