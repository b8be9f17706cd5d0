using System.Text;
using System.Text.Json.Nodes;

namespace Vmm.Devices.Tests;

/// <summary>Writes state and reads it back, as it is or changed.</summary>
internal static class SavedState
{
    internal static byte[] Written(Action<StateWriter> save)
    {
        StateWriter writer = new();
        save(writer);
        using MemoryStream stream = new();
        writer.WriteTo(stream);
        return stream.ToArray();
    }

    internal static StateReader Read(string json, int newestVersion = 1) =>
        StateReader.Parse(Encoding.UTF8.GetBytes(json), "state", newestVersion);

    /// <summary>Restores a part from what another one of its kind wrote.</summary>
    internal static void Move(ISavedState from, ISavedState to, Action<JsonObject>? change = null)
    {
        StateReader reader = StateReader.Parse(Changed(Written(from.Save), change), "state");
        to.Restore(reader);
        reader.Complete();
    }

    internal static byte[] Changed(byte[] state, Action<JsonObject>? change)
    {
        if (change is null) return state;
        JsonObject root = JsonNode.Parse(state)!.AsObject();
        change(root);
        return Encoding.UTF8.GetBytes(root.ToJsonString());
    }
}
